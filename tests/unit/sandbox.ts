import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { directory } from "./clusters.ts";

/** What a script did. */
export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Calls of systemctl that change something, one a line. */
  readonly calls: readonly string[];
}

/** Stands in for systemctl: a unit is active once it was started, and fails to start or stops when told so. */
const systemctl = (state: string) => `#!/bin/bash
state=${state}
verb= units=() now= quiet=
for arg; do
  case $arg in
    --now) now=1 ;;
    --quiet) quiet=1 ;;
    --*) ;;
    *) if [ -z "$verb" ]; then verb=$arg; else units+=("$arg"); fi ;;
  esac
done
status=0
case $verb in
  is-active)
    [ -e "$state/active/\${units[0]}" ] || status=3
    [ -n "$quiet" ] || { [ $status = 0 ] && echo active || echo inactive; } ;;
  is-enabled) echo enabled ;;
  show) cat "$state/restarts/\${units[-1]}" 2>/dev/null || echo 0 ;;
  is-failed) [ -e "$state/failed/\${units[0]}" ] || status=1 ;;
  status) echo "status of \${units[*]}" ;;
  daemon-reload | reset-failed) echo "$verb" >>"$state/calls" ;;
  enable | disable | restart)
    echo "$verb \${units[*]}" >>"$state/calls"
    for unit in "\${units[@]}"; do
      if [ ! -e "/etc/systemd/system/$unit" ]; then
        echo "Failed to $verb unit: Unit file $unit does not exist." >&2
        status=1
      elif [ "$verb" = disable ]; then
        [ -z "$now" ] || rm -f "$state/active/$unit"
      elif [ "$verb" = restart ]; then
        rm -f "$state/active/$unit"
        if [ -e "$state/broken/$unit" ]; then : >"$state/failed/$unit"; status=1; else : >"$state/active/$unit"; fi
      fi
    done ;;
esac
exit $status
`;

/**
 * Folders that a script sees as /etc, /opt, /var/lib and /usr/local/sbin, in a mount namespace of its own: the script
 * runs as it does on a host, and nothing of this machine is touched. systemd is not there: a stand-in notes what is asked.
 */
export class Sandbox {
  readonly #root = mkdtempSync(join(directory, "sandbox-"));

  constructor() {
    for (const dir of ["etc", "opt", "lib", "sbin", "active", "failed", "broken", "restarts"])
      mkdirSync(join(this.#root, dir));
    for (const [name, text] of [
      ["systemctl", systemctl(this.#root)],
      ["journalctl", "#!/bin/sh\necho the last lines of its log\n"],
    ] as const) {
      writeFileSync(join(this.#root, "sbin", name), text, { mode: 0o755 });
    }
  }

  /** Where an absolute path of the sandbox lies on this machine. */
  at(path: string): string {
    return join(this.#root, path.replace(/^\/var\/lib/, "/lib"));
  }

  read(path: string): string | undefined {
    return existsSync(this.at(path)) ? readFileSync(this.at(path), "utf8") : undefined;
  }

  /** Whether a unit shall fail when it is started. */
  breakUnit(name: string, broken: boolean): void {
    if (broken) writeFileSync(join(this.#root, "broken", name), "");
    else for (const dir of ["broken", "failed"]) rmSync(join(this.#root, dir, name), { force: true });
  }

  stopUnit(name: string): void {
    rmSync(join(this.#root, "active", name), { force: true });
  }

  isActive(name: string): boolean {
    return existsSync(join(this.#root, "active", name));
  }

  run(script: string, ...args: string[]): Run {
    const mounts = { etc: "/etc", opt: "/opt", lib: "/var/lib", sbin: "/usr/local/sbin" };
    const enter = [
      ...Object.entries(mounts).map(([dir, at]) => `mount --bind '${join(this.#root, dir)}' ${at}`),
      'exec bash -s -- "$@"',
    ].join(" && ");
    rmSync(join(this.#root, "calls"), { force: true });
    const user = process.getuid?.() === 0 ? [] : ["--map-root-user"];
    const { status, stdout, stderr, error } = spawnSync(
      "unshare",
      ["--mount", ...user, "sh", "-c", enter, "sh", ...args],
      {
        input: script,
        encoding: "utf8",
        timeout: 30_000,
      },
    );
    if (error) throw error;
    const calls = existsSync(join(this.#root, "calls")) ? readFileSync(join(this.#root, "calls"), "utf8") : "";
    return { status, stdout, stderr, calls: calls.split("\n").filter(Boolean) };
  }
}
