import { imageRefs } from "../../images.ts";
import { yaml } from "../../render.ts";
import type { ClusterSpec } from "../../spec.ts";

/** The provisioner's configuration, and the pod that makes or removes a volume's folder on its node. */
export function renderLocalPath(spec: ClusterSpec): Record<string, string> {
  const helper = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "volume-helper" },
    spec: {
      automountServiceAccountToken: false,
      priorityClassName: "system-node-critical",
      containers: [
        {
          // The provisioner reads the log of a container with this name.
          name: "helper-pod",
          image: imageRefs(spec.versions).volumeHelper,
          imagePullPolicy: "IfNotPresent",
          securityContext: {
            allowPrivilegeEscalation: false,
            // To remove what pods wrote as any user.
            capabilities: { add: ["DAC_OVERRIDE", "FOWNER"], drop: ["ALL"] },
            readOnlyRootFilesystem: true,
            seccompProfile: { type: "RuntimeDefault" },
          },
        },
      ],
    },
  };
  const config = {
    nodePathMap: [{ node: "DEFAULT_PATH_FOR_NON_LISTED_NODES", paths: [spec.addons.localPath] }],
    setupCommand: "/volume-helper",
    teardownCommand: "/volume-helper",
  };
  return { "config.json": `${JSON.stringify(config, null, 2)}\n`, "helperPod.yaml": yaml(helper) };
}
