// node peers.mjs PEER URL JOBS AT_ONCE: queues so many jobs and works them off, so many at once; writes jobs a second of
// each as JSON. A job does nothing.
import { run, makeWorkerUtils } from "graphile-worker";
import PgBoss from "pg-boss";

const [peer, url, jobs, atOnce] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];

// Runs `jobs` of these, `atOnce` at a time; gives how many a second.
async function measure(work) {
  let next = 0;
  const begun = performance.now();
  const lane = async () => {
    while (next++ < jobs) await work(next);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return jobs / ((performance.now() - begun) / 1000);
}

async function graphile() {
  const silent = { logger: new (await import("graphile-worker")).Logger(() => () => {}) };
  const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: atOnce, ...silent });
  await utils.migrate();
  const queued = await measure((i) => utils.addJob("nothing", { prompt: `a lighthouse, the ${i}th` }));
  await utils.release();
  let done = 0;
  let end;
  const all = new Promise((resolve) => (end = resolve));
  const begun = performance.now();
  const runner = await run({
    connectionString: url,
    concurrency: atOnce,
    maxPoolSize: atOnce,
    noHandleSignals: true,
    ...silent,
    taskList: { nothing: async () => {} },
  });
  runner.events.on("job:complete", () => ++done === jobs && end());
  await all;
  const worked = jobs / ((performance.now() - begun) / 1000);
  await runner.stop();
  return { queued, worked };
}

async function boss() {
  const boss = new PgBoss({ connectionString: url, max: atOnce, supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue("nothing");
  const queued = await measure((i) => boss.send("nothing", { prompt: `a lighthouse, the ${i}th` }));
  const worked = await measure(async () => {
    const [job] = await boss.fetch("nothing");
    await boss.complete("nothing", job.id);
  });
  await boss.stop({ graceful: false });
  return { queued, worked };
}

const measured = await { "graphile-worker": graphile, "pg-boss": boss }[peer]();
console.log(JSON.stringify(measured));
process.exit(0);
