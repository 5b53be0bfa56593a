import { createPrivateKey, createPublicKey, sign } from "node:crypto";

/** A value in DER (X.690): tag, length, content. */
function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  const bytes = body.length < 0x80 ? [] : body.length < 0x100 ? [body.length] : [body.length >> 8, body.length & 0xff];
  const length = bytes.length === 0 ? [body.length] : [0x80 + bytes.length, ...bytes];
  return Buffer.concat([Uint8Array.from([tag, ...length]), body]);
}

const sequence = (...content: readonly Uint8Array[]): Buffer => der(0x30, ...content);
const identifier = (hex: string): Buffer => der(0x06, Buffer.from(hex, "hex"));
/** A part of a name: a set of one pair of type and UTF-8 text. */
const named = (type: Buffer, value: string): Buffer => der(0x31, sequence(type, der(0x0c, Buffer.from(value, "utf8"))));

const commonNameType = identifier("550403");
const organizationType = identifier("55040a");
const sha256WithRsa = sequence(identifier("2a864886f70d01010b"), der(0x05));

/**
 * A certificate request (PKCS #10) as PEM. The TLS provider's own takes one organization only, and Kubernetes reads each
 * as a group. The key is RSA: its signatures are the same each time (ECDSA's are not), so that a second `up` asks for the
 * same certificate.
 */
export function certificateRequest(
  keyPem: string,
  subject: { readonly commonName: string; readonly organizations: readonly string[] },
): string {
  const key = createPrivateKey(keyPem);
  if (key.asymmetricKeyType !== "rsa") {
    throw new Error(
      `certificate request of ${subject.commonName}: got a key of type ${key.asymmetricKeyType}, expected rsa`,
    );
  }
  const names = subject.organizations.map((organization) => named(organizationType, organization));
  const asked = sequence(
    der(0x02, Uint8Array.of(0)),
    sequence(...names, named(commonNameType, subject.commonName)),
    createPublicKey(key).export({ type: "spki", format: "der" }),
    der(0xa0),
  );
  const signature = sign("sha256", asked, key);
  const request = sequence(asked, sha256WithRsa, der(0x03, Uint8Array.of(0), signature));
  const lines = request.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}
