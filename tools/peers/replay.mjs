// The reference: Chrome DevTools' own runner of recordings, @puppeteer/replay.
import puppeteer from "puppeteer-core";
import { createRunner, parse, PuppeteerRunnerExtension } from "@puppeteer/replay";
import { args, executablePath, profile, recording, run } from "./launch.mjs";

const browser = await puppeteer.launch({ executablePath, args, pipe: true, userDataDir: profile, headless: "shell", acceptInsecureCerts: false });
const page = await (await browser.createBrowserContext()).newPage();

// steps counts what has been begun, so that a failure has a place.
class Counting extends PuppeteerRunnerExtension {
  step = 0;
  async beforeEachStep(step, flow) {
    this.step++;
    await super.beforeEachStep?.(step, flow);
  }
}

const counting = new Counting(browser, page, recording.timeout ? { timeout: recording.timeout } : undefined);
await run(browser, async () => {
  const runner = await createRunner(parse(recording), counting);
  try {
    await runner.run();
  } catch (err) {
    err.step = counting.step;
    throw err;
  }
});
