import type { Log } from "./cache.ts";
import { run, which } from "./run.ts";

/**
 * Installs Debian packages on this machine, saying so. Throws with the command to run by hand where that is not possible:
 * without root, or where the machine has no apt-get.
 */
export async function installPackages(packages: readonly string[], why: string, log: Log): Promise<void> {
  if (packages.length === 0) return;
  const names = [...new Set(packages)];
  if (process.getuid?.() !== 0 || which("apt-get") === undefined) {
    throw new Error(
      `${why} needs packages that are missing: ${names.join(", ")}. Run as root on Debian or Ubuntu: apt-get install ${names.join(" ")}`,
    );
  }
  log(`installing ${names.join(", ")} by apt-get, for ${why}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const args of [["update"], ["install", "--yes", "--no-install-recommends", ...names]]) {
    await run("apt-get", ["--quiet", ...args], { timeout: 600_000, env });
  }
}
