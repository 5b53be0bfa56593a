import type { ClusterConfig } from "../../schema.ts";

/** The provisioner that comes along, as Kubernetes knows it. */
export const localPathProvisioner = "rancher.io/local-path";

/** Whether a storage class rests on the provisioner that comes along. */
export const hasLocalPath = ({ storageClasses }: ClusterConfig["addons"]): boolean =>
  storageClasses.some((one) => one.provisioner === "local-path");
