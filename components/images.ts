import { imageRef } from "../toolchain/images.ts";
import type { VersionSet } from "./versions.ts";

/** The images that plainkube brings along, as pods name them. */
export const imageRefs = (versions: VersionSet) => ({
  pause: imageRef("pause", versions.pause),
  coredns: imageRef("coredns", versions.coredns),
  workload: imageRef("workload", versions.workload),
  metricsServer: imageRef("metrics-server", versions["metrics-server"]),
  localPathProvisioner: imageRef("local-path-provisioner", versions["local-path-provisioner"]),
  volumeHelper: imageRef("volume-helper", versions["volume-helper"]),
});
