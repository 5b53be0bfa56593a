/** TCP ports that a control plane listens on: etcd, API server. */
export const controlPlanePorts = [2379, 2380, 2381, 6443] as const;
/** Those of its controllers: controller manager, scheduler. */
export const controllerPorts = [10257, 10259] as const;
/** Those of a worker: the kubelet. */
export const workerPorts = [10248, 10250] as const;
/** Those of every host: kube-proxy. */
export const networkPorts = [10249, 10256] as const;
