import { paths } from "../paths.ts";
import { bareScript } from "./bare.ts";
import { packed } from "./pack.ts";

/** A file on a host. */
export interface HostFile {
  /** Absolute path. */
  readonly path: string;
  /** Whole content; text files end with a newline. */
  readonly content: string;
  /** Octal permissions. Default: 0644 for a unit, as systemd warns of others, and 0600 for all else. The owner is root. */
  readonly mode?: string;
}

/** A systemd unit that a phase keeps running. */
export interface Unit {
  /** Like kubelet.service; its file is one of the phase's files. */
  readonly name: string;
  /** Paths whose content decides about a restart: config files, keys, binaries. */
  readonly inputs: readonly string[];
  /** Shell command that succeeds when the unit does its work. Default: systemd calls it active. */
  readonly probe?: string;
}

/** What a concern brings to a host. */
export interface Payload {
  readonly files: readonly HostFile[];
  readonly units: readonly Unit[];
}

const applyScript = bareScript(new URL("./apply.sh", import.meta.url));

/** Permissions of a file that says none. */
export const modeOf = (path: string): string => (path.startsWith(`${paths.units}/`) ? "0644" : "0600");

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A text as one word of a POSIX shell. */
export const shellWord = (text: string): string => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : quoted(text));

/** The command that runs a script from standard input as root, whatever the user and the user's shell are. */
export function rootShell(...args: readonly string[]): string {
  const bash = ["bash -s --", ...args.map(shellWord)].join(" ");
  return `if [ "$(id -u)" = 0 ]; then exec ${bash}; else exec sudo -n ${bash}; fi`;
}

/** A script for `rootShell`: bash reads the braces to their end first, so nothing runs before all of it has arrived. */
export const wholeScript = (body: string): string =>
  `{\nmain() {\n${body.trimEnd()}\n}\nmain "$@" </dev/null\nexit\n}\n`;

/** The line of a script that places a file; a word of the shell may hold anything but NUL. */
function placing(word: "file" | "secret", path: string, mode: string, content: string): string {
  if (content.includes("\0")) throw new Error(`${path} holds a NUL, which no word of a shell can`);
  return `${word} ${mode} ${shellWord(path)} ${quoted(content)}`;
}

/**
 * The script that ships one phase of a host.
 * `afterwards` takes away what the units leave, when the host loses the phase.
 */
export function phaseScript(
  phase: string,
  payload: Payload,
  secrets: readonly HostFile[],
  afterwards?: string,
): string {
  const lines = [
    applyScript,
    "",
    `begin ${shellWord(phase)}`,
    // As the resource's delete: all that the phase shipped goes.
    ...(afterwards === undefined
      ? ['if [ "$2" = remove ]; then apply; exit; fi']
      : ['if [ "$2" = remove ]; then', "apply", afterwards, "exit", "fi"]),
  ];
  for (const { path, content, mode = modeOf(path) } of payload.files) {
    if (!content.endsWith("\n")) throw new Error(`${path} does not end with a newline`);
    lines.push(placing("file", path, mode, content));
  }
  for (const { path, content, mode = "0600" } of secrets) lines.push(placing("secret", path, mode, content));
  for (const { name, inputs, probe = `systemctl --quiet is-active ${name}` } of payload.units) {
    lines.push(["unit", shellWord(name), shellWord(probe), ...inputs.map(shellWord)].join(" "));
  }
  lines.push("apply");
  return wholeScript(packed(lines.join("\n")));
}

/** Several concerns as one payload, in the order in which their units start. */
export const concat = (...payloads: readonly Payload[]): Payload => ({
  files: payloads.flatMap((p) => p.files),
  units: payloads.flatMap((p) => p.units),
});
