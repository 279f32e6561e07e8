// The journey as one writes it with Puppeteer: locators, and a wait for the navigation where the recording expects one.
import puppeteer from "puppeteer-core";
import { args, css, executablePath, profile, recording, run } from "./launch.mjs";

const browser = await puppeteer.launch({ executablePath, args, pipe: true, userDataDir: profile, headless: "shell" });
const page = await (await browser.createBrowserContext()).newPage();

const types = {
  setViewport: (step) => page.setViewport({ width: step.width, height: step.height, deviceScaleFactor: step.deviceScaleFactor }),
  navigate: (step) => page.goto(step.url, { waitUntil: "load" }),
  click: (step) => page.locator(css(step)).click(),
  change: (step) => page.locator(css(step)).fill(step.value),
  waitForElement: (step) =>
    page.waitForFunction((selector, count) => document.querySelectorAll(selector).length >= count, {}, css(step), step.count ?? 1),
};

await run(browser, async () => {
  for (const step of recording.steps) {
    const navigates = step.type !== "navigate" && step.assertedEvents?.length > 0;
    await Promise.all([navigates && page.waitForNavigation({ waitUntil: "load" }), types[step.type](step)]);
  }
});
