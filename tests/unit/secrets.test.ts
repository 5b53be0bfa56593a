/** The search for secrets (tests/e2e/secrets.ts) knows each in every form that it may take, and takes nothing public for one. */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { base64Secret, keySecret, type Secret, secretsOfState, textSecret } from "../e2e/secrets.ts";
import { key as sshKey } from "./clusters.ts";

const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const pem = ({ privateKey }: typeof ec, type: "pkcs8" | "sec1" | "pkcs1") =>
  privateKey.export({ type, format: "pem" }).toString();
const openSsh = await readFile(sshKey.path, "utf8");

const isIn = ({ forms }: Secret, text: string | Buffer): boolean => {
  const bytes = Buffer.from(text as string);
  return forms.some((form) => bytes.includes(form));
};
const b64 = (text: string | Buffer): string => Buffer.from(text as string).toString("base64");
const derOf = (text: string): Buffer => Buffer.from(text.replace(/-----.*-----|\n/g, ""), "base64");
const shifted = (text: string): string[] => ["", "x", "xy"].map((before) => `${before}${text}`);

/** How a text turns up: as it is, quoted, encoded once and twice, behind something of any length. */
const appearances = (text: string): string[] => [
  `before ${text} after`,
  JSON.stringify({ value: text }),
  JSON.stringify(JSON.stringify({ value: text })),
  ...shifted(text).map(b64),
  ...shifted(text).flatMap((t) => shifted(b64(t)).map(b64)),
];

for (const [name, text] of Object.entries({
  "EC, SEC 1": pem(ec, "sec1"),
  "EC, PKCS 8": pem(ec, "pkcs8"),
  "RSA, PKCS 1": pem(rsa, "pkcs1"),
  "RSA, PKCS 8": pem(rsa, "pkcs8"),
  OpenSSH: openSsh,
})) {
  test(`a private key is known in every form: ${name}`, () => {
    const secret = keySecret(name, text);
    for (const appearance of appearances(text)) assert.ok(isIn(secret, appearance), appearance);
    const der = derOf(text);
    assert.ok(isIn(secret, Buffer.concat([randomBytes(5), der])), "as bytes");
    assert.ok(isIn(secret, der.toString("hex")), "in hexadecimal");
    for (const before of [0, 1, 2]) {
      const bytes = Buffer.concat([randomBytes(before), der]);
      assert.ok(isIn(secret, bytes.toString("base64")), "in one line of base64");
      assert.ok(isIn(secret, bytes.toString("base64url")), "in the other alphabet");
    }
  });
}

test("a key that encrypts, and a text, are known in every form", () => {
  const bytes = randomBytes(32);
  const key = base64Secret("key", bytes.toString("base64"));
  for (const appearance of appearances(bytes.toString("base64"))) assert.ok(isIn(key, appearance), appearance);
  for (const encoding of ["hex", "base64", "base64url"] as const) assert.ok(isIn(key, bytes.toString(encoding)));
  assert.ok(isIn(key, Buffer.concat([randomBytes(9), bytes])));
  const text = randomBytes(24).toString("base64url");
  const passphrase = textSecret("passphrase", text);
  for (const appearance of appearances(text)) assert.ok(isIn(passphrase, appearance), appearance);
});

test("what is public is no secret: the other half of a key, another key", () => {
  for (const [pair, type] of [
    [ec, "sec1"],
    [rsa, "pkcs1"],
  ] as const) {
    const secret = keySecret("key", pem(pair as typeof ec, type));
    const spki = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
    for (const appearance of [...appearances(spki), derOf(spki)]) assert.ok(!isIn(secret, appearance));
  }
  const secret = keySecret("SSH key", openSsh);
  for (const appearance of appearances(sshKey.publicKey)) assert.ok(!isIn(secret, appearance));
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  for (const appearance of appearances(pem(other, "sec1")))
    assert.ok(!isIn(keySecret("key", pem(ec, "sec1")), appearance));
});

test("a decrypted state gives each of its keys once, by the resource that made it", () => {
  const secretly = (value: unknown) => ({
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    plaintext: JSON.stringify(value),
  });
  const resource = (name: string, type: string, outputs: object, inputs: object = {}) => ({
    urn: `urn:pulumi:dev::plainkube::${type}::${name}`,
    type,
    outputs,
    inputs,
  });
  const text = pem(ec, "sec1");
  const state = {
    deployment: {
      resources: [
        resource("a-key", "tls:index/privateKey:PrivateKey", { privateKeyPem: secretly(text) }),
        resource("a-cert", "tls:index/certRequest:CertRequest", {}, { privateKeyPem: secretly(text) }),
        resource("root", "command:remote:Command", {}, { connection: secretly({ privateKey: openSsh }) }),
        resource("password", "random:index/randomPassword:RandomPassword", { result: secretly("0123456789abcdef") }),
      ],
    },
  };
  const found = secretsOfState(JSON.stringify(state));
  assert.deepEqual(
    found.map(({ name }) => name),
    ["a-key", "SSH key", "password"],
  );
});
