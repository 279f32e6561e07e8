// What every driver here starts: the same Chromium, as the benchmark gives it, with its own profile in a directory that goes with it.
// Usage of the drivers: node X.mjs RECORDING. They exit with 0 where the journey passed, and with 1 where it failed.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const executablePath = process.env.CHROMIUM;
export const args = (process.env.CHROMIUM_FLAGS ?? "").split(" ").filter(Boolean);
export const recording = JSON.parse(readFileSync(process.argv[2], "utf8"));

export const profile = mkdtempSync(join(tmpdir(), "peer-"));

// run does the journey, ends the browser, and says how it went.
export async function run(browser, journey) {
  let status = 0;
  try {
    await journey();
  } catch (err) {
    status = 1;
    console.error(`step ${err.step ?? "?"}: ${err.message}`);
  }
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
  process.exit(status);
}

// css is the first selector of a step that all of the drivers can read.
export const css = (step) => step.selectors.flat().find((s) => !/^(aria|text|xpath|pierce)\//.test(s));
