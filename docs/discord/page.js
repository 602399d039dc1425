// Draws a page of Discord's components and says when it is whole: `data-ready` on the root element.
import '@fontsource/noto-color-emoji/emoji-400.css';
import '@fontsource/noto-sans/latin-400.css';
import '@fontsource/noto-sans/latin-500.css';
import '@fontsource/noto-sans/latin-600.css';
import '@fontsource/noto-sans/latin-700.css';
import '@skyra/discord-components-core';
import './page.css';

async function drawn() {
  for (const element of document.querySelectorAll(':not(:defined)')) {
    await customElements.whenDefined(element.localName);
  }
  for (const element of document.querySelectorAll('*')) await element.updateComplete;
  const dialog = document.querySelector('discord-modal')?.shadowRoot.querySelector('dialog');
  if (dialog) {
    dialog.showModal();
    dialog.querySelector('.discord-modal-box').style.display = 'flex';
    dialog.style.transition = 'none';
  }
  await Promise.all([...document.images].map((image) => image.decode()));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  document.documentElement.dataset.ready = '';
}

drawn();
