import * as kubernetes from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import type { ClusterConfig } from "../../schema.ts";
import { localPathProvisioner } from "./provisioner.ts";

type StorageClass = ClusterConfig["addons"]["storageClasses"][number];

/** One StorageClass. A change of anything but `default` replaces it; claims that are bound go on. */
export function storageClass(name: string, one: StorageClass, options: pulumi.CustomResourceOptions) {
  return new kubernetes.storage.v1.StorageClass(
    name,
    {
      metadata: {
        name: one.name,
        annotations: { "storageclass.kubernetes.io/is-default-class": String(one.default) },
      },
      provisioner: one.provisioner === "local-path" ? localPathProvisioner : one.provisioner,
      parameters: one.parameters,
      reclaimPolicy: one.reclaimPolicy,
      volumeBindingMode: one.volumeBindingMode,
    },
    {
      ...options,
      // None of these can be changed, and of one name there is one only.
      replaceOnChanges: ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
      deleteBeforeReplace: true,
    },
  );
}
