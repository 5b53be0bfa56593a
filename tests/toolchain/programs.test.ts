import { join } from "node:path";
import { test } from "node:test";
import { must } from "../../lab/shell.ts";
import { projectDirectory } from "../../lab/stack.ts";

/** The project's own programs by their own tests, in Go. */
for (const folder of ["images/volume-helper", "images/workload", "kubelet-serving-approver", "receive"]) {
  test(`toolchain/${folder} passes go vet and go test`, async () => {
    const options = { cwd: join(projectDirectory, "toolchain", folder) };
    await must(["go", "vet", "./..."], options);
    await must(["go", "test", "./..."], options);
  });
}
