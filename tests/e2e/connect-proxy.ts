import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect } from "node:net";

/**
 * A proxy that knows the method CONNECT and prints a line for each request: `node connect-proxy.ts ADDRESS PORT`, and the
 * files of certificate, key and the clients' authority where it is to use TLS. Prints `ready` when it listens.
 */

const [address = "", port = "", cert, key, ca] = process.argv.slice(2);
const pem = (file: string) => readFileSync(file);
const server: Server =
  cert && key && ca
    ? createTlsServer({ cert: pem(cert), key: pem(key), ca: pem(ca), requestCert: true, rejectUnauthorized: true })
    : createServer();

server.on("connect", ({ url = "" }, client, head) => {
  console.log(url);
  const [host = "", to = ""] = url.split(":");
  const upstream = connect(Number(to), host, () => {
    client.write("HTTP/1.1 200 Connection established\r\n\r\n");
    upstream.write(head);
    upstream.pipe(client);
    client.pipe(upstream);
  });
  upstream.on("error", () => client.destroy());
  client.on("error", () => upstream.destroy());
});
server.listen(Number(port), address, () => console.log("ready"));
