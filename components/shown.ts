/** How values and names of settings are shown to a user: short, on one line, and without what may be secret. */

/** What a terminal would not show, or would show as something else: controls, marks of direction, other spaces, half characters. */
const hidden = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const codePoint = (character: string): string =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A text with what is invisible in it made visible. */
export const visible = (text: string): string =>
  text.replace(hidden, (c) => named[c] ?? `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);

/** A text that is too long for an error's line loses its end. */
const short = (text: string, most: number): string => {
  const characters = [...text.slice(0, 2 * most)];
  return characters.length > most || text.length > 2 * most ? `${characters.slice(0, most - 3).join("")}…` : text;
};

const isSecretName = (name: string): boolean => /password|passphrase|secret$|token/i.test(name);
/** Private keys: in PEM, and the bodies of OpenSSH's, of PKCS #1, #8 and of EC keys. */
const isKey = (text: string): boolean =>
  /PRIVATE KEY|b3BlbnNzaC1rZXktdjE|\bMI[GIEH][A-Za-z0-9+/]{4}IBAA/.test(text.slice(0, 100_000));

const withoutUser = (text: string): string => text.replace(/:\/\/[^/]*@/g, "://[secret]@");

/** A value as an error shows it. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const strange = new Set<string>();
  const text = JSON.stringify(value, (key, v) => {
    if (isSecretName(key)) return "[secret]";
    if (typeof v !== "string") return v;
    // What is no JSON may have been meant as an object with a password.
    if (isKey(v) || /password/i.test(v)) return "[secret]";
    const shown = withoutUser(short(v, 400));
    for (const [letter] of shown.slice(0, 400).matchAll(/(?!\p{ASCII})[\p{L}\p{M}\p{N}\p{P}\p{S}]/gu))
      if (letter !== "…") strange.add(letter);
    return shown;
  });
  // Letters that look like others are told from them by their numbers.
  const letters = [...strange]
    .slice(0, 3)
    .map((letter) => `${/\p{M}/u.test(letter) ? "◌" : ""}${letter} is ${codePoint(letter)}`);
  const more = strange.size > 3 ? ", …" : "";
  return `${short(visible(text), 120)}${letters.length > 0 ? ` (${letters.join(", ")}${more})` : ""}`;
}

/** A text of the configuration as an error holds it, without quotes. */
export const showText = (text: string): string =>
  isKey(text) ? "[secret]" : short(visible(withoutUser(short(text, 1000))), 400);

/** A setting's place, as `pulumi config set --path` takes it. */
export const setting = (path: readonly PropertyKey[]): string =>
  path
    .map((key, i) => {
      if (typeof key === "number") return `[${key}]`;
      const name = String(key);
      if (/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/.test(name)) return `${i > 0 ? "." : ""}${name}`;
      return i > 0 ? `[${show(name)}]` : show(name);
    })
    .join("");
