import { which } from "../toolchain/run.ts";

/** Browsers that tests can drive, and the Debian package of the first. */
const browsers = ["chromium-headless-shell", "chromium", "google-chrome"];
export const browserPackage = "chromium-headless-shell";

/** A browser on this machine, or undefined. */
export const findBrowser = (): string | undefined => browsers.map((name) => which(name)).find(Boolean);
