// The journey as one writes it with Playwright.
import { chromium } from "playwright-core";
import { args, css, executablePath, recording, run } from "./launch.mjs";

const browser = await chromium.launch({ executablePath, args, headless: true });
const page = await (await browser.newContext()).newPage();

const types = {
  setViewport: (step) => page.setViewportSize({ width: step.width, height: step.height }),
  navigate: (step) => page.goto(step.url, { waitUntil: "load" }),
  click: (step) => page.click(css(step)),
  change: (step) => page.fill(css(step), step.value),
  waitForElement: (step) => page.locator(css(step)).nth((step.count ?? 1) - 1).waitFor({ state: "attached" }),
};

await run(browser, async () => {
  for (const step of recording.steps) {
    const navigates = step.type !== "navigate" && step.assertedEvents?.length > 0;
    await Promise.all([navigates && page.waitForNavigation({ waitUntil: "load" }), types[step.type](step)]);
  }
});
