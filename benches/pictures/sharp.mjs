// Four PNG files into one sheet with sharp: `node sharp.mjs FOLDER ROUNDS` prints a line of JSON for each way to code it.
import { readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";

const [folder, rounds] = process.argv.slice(2);
const side = 1024;
const files = [0, 1, 2, 3].map((i) => readFileSync(`${folder}/${i}.png`));
const parts = files.map((input, i) => ({ input, left: (i % 2) * side, top: (i >> 1) * side }));
const canvas = { create: { width: 2 * side, height: 2 * side, channels: 3, background: "black" } };
const ways = {
  "PNG, as it comes": (sheet) => sheet.png(),
  "PNG, level 2, filtered": (sheet) => sheet.png({ compressionLevel: 2, adaptiveFiltering: true }),
  "WebP 80, as it comes": (sheet) => sheet.webp({ quality: 80 }),
  "WebP 80, effort 2": (sheet) => sheet.webp({ quality: 80, effort: 2 }),
};
for (const [way, encode] of Object.entries(ways)) {
  const took = [];
  let bytes;
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now();
    bytes = await encode(sharp(canvas).composite(parts)).toBuffer();
    took.push(performance.now() - begun);
  }
  const file = `${folder}/sharp-${took.length}-${way.replaceAll(/\W+/g, "-")}`;
  writeFileSync(file, bytes);
  console.log(JSON.stringify({ who: `sharp ${sharp.versions.sharp}`, way, took, file }));
}
