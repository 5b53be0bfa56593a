import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { type Decoder, programDecoder } from "../../explore/stored.ts";
import { buildRecipe, hostArch, recipe } from "../../toolchain/modules.ts";

/** The real decoder, on values put together here byte by byte, as Kubernetes' protobuf encoding describes them. */

let decode: Decoder;

before(async () => {
  const built = await buildRecipe(recipe("etcd-decode"), {
    arch: hostArch(),
    log: (line) => console.error(`# ${line}`),
  });
  decode = programDecoder(async () => built["etcd-decode"]?.path ?? "");
});

/** A field that holds a text or a message; all here are shorter than 128 bytes. */
function field(number: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  assert.ok(bytes.length < 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
}

/** The prefix, then a runtime.Unknown: type, message, content encoding and type. */
const stored = (apiVersion: string, kind: string, message: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from("k8s\0"),
    field(1, Buffer.concat([field(1, apiVersion), field(2, kind)])),
    field(2, message),
    field(3, ""),
    field(4, ""),
  ]);

const metadata = field(1, Buffer.concat([field(1, "colours"), field(3, "default")]));
const configMap = Buffer.concat([metadata, field(2, Buffer.concat([field(1, "sky"), field(2, "blue")]))]);

describe("the decoder of what etcd stores", () => {
  test("turns a stored object into its fields", async () => {
    assert.deepEqual(await decode(stored("v1", "ConfigMap", configMap)), {
      kind: "ConfigMap",
      apiVersion: "v1",
      metadata: { name: "colours", namespace: "default" },
      data: { sky: "blue" },
    });
  });

  test("reads other groups, and what only the API server keeps", async () => {
    const lease = (await decode(stored("coordination.k8s.io/v1", "Lease", metadata))) as { kind: string };
    assert.equal(lease.kind, "Lease");
    const range = stored("v1", "RangeAllocation", Buffer.concat([field(1, ""), field(2, "10.96.0.0/16")]));
    assert.equal(((await decode(range)) as { range: string }).range, "10.96.0.0/16");
  });

  test("says what it cannot read", async () => {
    const whole = stored("v1", "ConfigMap", configMap);
    const cases: [Buffer, RegExp][] = [
      [Buffer.alloc(0), /empty data/],
      [Buffer.from('{"kind":"ConfigMap"}'), /expected prefix \[107 56 115 0\]/],
      [Buffer.from("k8s:enc:aescbc:v1:key1:abc"), /expected prefix/],
      [whole.subarray(0, -8), /unexpected EOF/],
      [stored("v1", "Potato", configMap), /^Error: Potato of v1 is not a type of the Kubernetes version/],
    ];
    for (const [value, message] of cases) await assert.rejects(decode(value), message);
  });
});
