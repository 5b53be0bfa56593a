import assert from "node:assert/strict";
import { test } from "node:test";
import { contains, networkOf, nthAddress, overlaps, prefixLength } from "../../components/cidr.ts";

test("a CIDR's network, prefix and addresses", () => {
  assert.equal(prefixLength("10.96.0.0/12"), 12);
  assert.equal(networkOf("10.107.255.1/12"), "10.96.0.0/12");
  assert.equal(networkOf("255.255.255.255/0"), "0.0.0.0/0");
  assert.equal(networkOf("203.0.113.7/32"), "203.0.113.7/32");
  assert.equal(nthAddress("10.96.0.0/16", 1), "10.96.0.1");
  assert.equal(nthAddress("10.96.0.0/16", 256), "10.96.1.0", "carries into the next octet");
  assert.equal(nthAddress("10.255.255.0/24", 256), "11.0.0.0");
  assert.equal(nthAddress("192.168.255.240/28", 10), "192.168.255.250", "above 2^31");
});

test("what overlaps", () => {
  const pairs: [string, string, boolean][] = [
    ["10.0.0.0/8", "10.96.0.0/16", true],
    ["10.0.0.0/24", "10.0.1.0/24", false],
    ["10.0.0.0/23", "10.0.1.0/24", true],
    ["0.0.0.0/0", "255.255.255.255/32", true],
    ["127.255.255.255/32", "128.0.0.0/32", false],
    ["10.0.0.9/24", "10.0.0.200/25", true],
  ];
  for (const [a, b, expected] of pairs) {
    assert.equal(overlaps(a, b), expected, `${a} and ${b}`);
    assert.equal(overlaps(b, a), expected, `${b} and ${a}`);
  }
});

test("what lies inside", () => {
  assert.ok(contains("10.90.23.0/24", "10.90.23.0"));
  assert.ok(contains("10.90.23.0/24", "10.90.23.255"));
  assert.ok(!contains("10.90.23.0/24", "10.90.24.0"));
  assert.ok(!contains("10.90.23.0/24", "10.90.22.255"));
});
