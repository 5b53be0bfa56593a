import { paths } from "../paths.ts";
import { repeated } from "../repeated.ts";
import type { Check } from "../spec.ts";
import { atLeast } from "../versions.ts";
import { hasLocalPath } from "./storage/provisioner.ts";

/** Folders of the system, and of plainkube beside its volumes. */
const taken = [
  ..."bin boot dev etc lib lib64 proc root run sbin sys tmp usr".split(" ").map((name) => `/${name}`),
  ...[paths.opt, paths.kubelet, paths.lib, "/var/log", "/var/run", "/var/tmp"],
];
const isWithin = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

export const checkAddons: Check = ({ addons, versions }, add, isSound) => {
  if (addons.metricsServer && isSound("versions.kubernetes") && !atLeast(versions.kubernetes, "1.34")) {
    add(
      "plainkube:addons.metricsServer does not fit the version of Kubernetes",
      `metrics-server 0.9.0 with Kubernetes ${versions.kubernetes}`,
      "Kubernetes 1.34 or newer",
      "leave addons.metricsServer out, or raise versions.kubernetes",
    );
  }
  const within = taken.find((folder) => isWithin(addons.localPath, folder));
  const own = isWithin(addons.localPath, paths.volumes);
  if (hasLocalPath(addons) && isSound("addons.localPath") && within !== undefined && !own) {
    add(
      "plainkube:addons.localPath is not free for volumes",
      `${addons.localPath}, within ${within}`,
      `a folder outside those of the system and of plainkube, or within ${paths.volumes}`,
      "choose another, like /srv/volumes, or leave it out",
    );
  }
  const classes = addons.storageClasses;
  if (!isSound("addons.storageClasses")) return;
  const names = classes.map((one) => one.name);
  for (const twice of repeated(names)) {
    add(
      `plainkube:addons.storageClasses has the name ${twice} more than once`,
      names.flatMap((name, i) => (name === twice ? [`storageClasses[${i}]`] : [])).join(" and "),
      "each name once",
      "give each class its own",
    );
  }
  const defaults = classes.filter((one) => one.default).map((one) => one.name);
  if (defaults.length > 1) {
    add(
      "plainkube:addons.storageClasses has several defaults",
      defaults.join(", "),
      "at most one class with default: true",
      "keep it on one class",
    );
  }
  for (const [i, one] of classes.entries()) {
    if (one.provisioner === "local-path" && one.volumeBindingMode === "Immediate") {
      add(
        `plainkube:addons.storageClasses[${i}].volumeBindingMode does not fit the provisioner local-path`,
        "Immediate",
        "WaitForFirstConsumer: a volume is made on the node of the pod that uses it",
        "leave it out",
      );
    }
  }
};
