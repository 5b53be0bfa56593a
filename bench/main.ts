import { parseArgs } from "node:util";
import { insideLan } from "../lab/instance.ts";
import { must } from "../lab/shell.ts";
import { benchHosts, freshHosts, removeHosts } from "./lab.ts";
import { makeWorkspace } from "./workspace.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, trace: { type: "boolean" } } });
const log = (line: string) => console.error(`# ${line}`);
const hosts = benchHosts(2);
for (let round = 0; round < Number(values.rounds); round++) {
  const instance = await freshHosts(hosts, log);
  const ws = await makeWorkspace(instance, hosts, log);
  const began = performance.now();
  const out = await must(
    [...insideLan(instance), "bash", ...(values.trace ? ["-x"] : []), "bench/script/up.sh", ws.directory, ...ws.hosts],
    {
      ...(values.trace && {
        onLine: (line: string) => console.error(((performance.now() - began) / 1000).toFixed(2), line.slice(0, 200)),
      }),
    },
  );
  console.log(out, (performance.now() - began) / 1000);
}
await removeHosts(log);
