/** IPv4 arithmetic for CIDRs like `10.96.0.0/16`; inputs are checked by the schema. */

const toNumber = (address: string): number => address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);

const toAddress = (n: number): string => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join(".");

const range = (cidr: string): { first: number; size: number; prefix: number } => {
  const [address = "", length = ""] = cidr.split("/");
  const prefix = Number(length);
  const size = 2 ** (32 - prefix);
  return { first: Math.floor(toNumber(address) / size) * size, size, prefix };
};

export const prefixLength = (cidr: string): number => range(cidr).prefix;

/** The CIDR with its host bits cleared. */
export const networkOf = (cidr: string): string => {
  const { first, prefix } = range(cidr);
  return `${toAddress(first)}/${prefix}`;
};

export const overlaps = (a: string, b: string): boolean => {
  const x = range(a);
  const y = range(b);
  return x.first < y.first + y.size && y.first < x.first + x.size;
};

export const contains = (cidr: string, address: string): boolean => overlaps(cidr, `${address}/32`);

/** The nth address of a CIDR; n counts from 0. */
export const nthAddress = (cidr: string, n: number): string => toAddress(range(cidr).first + n);
