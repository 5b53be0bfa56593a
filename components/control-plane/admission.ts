import { paths } from "../paths.ts";
import { yaml } from "../render.ts";
import type { ClusterSpec } from "../spec.ts";
import { atLeast } from "../versions.ts";
import { nothing, type ServerPart } from "./part.ts";

/**
 * Admission plugins of kube-apiserver (pkg/kubeapiserver/options/plugins.go at 1.26.3, 1.27.2, 1.34.10, 1.35.8 and
 * 1.36.3), and the minor releases in which they came and went, where that was after 1.26.
 */
const plugins: Readonly<Record<string, { readonly since?: string; readonly gone?: string }>> = {
  AlwaysAdmit: {},
  NamespaceAutoProvision: {},
  NamespaceLifecycle: {},
  NamespaceExists: {},
  SecurityContextDeny: { gone: "1.30" },
  LimitPodHardAntiAffinityTopology: {},
  LimitRanger: {},
  ServiceAccount: {},
  NodeRestriction: {},
  TaintNodesByCondition: {},
  AlwaysPullImages: {},
  ImagePolicyWebhook: {},
  PodSecurity: {},
  PodNodeSelector: {},
  Priority: {},
  DefaultTolerationSeconds: {},
  PodTolerationRestriction: {},
  EventRateLimit: {},
  ExtendedResourceToleration: {},
  PersistentVolumeLabel: { gone: "1.31" },
  DefaultStorageClass: {},
  StorageObjectInUseProtection: {},
  PodGroupProtection: { since: "1.36" },
  OwnerReferencesPermissionEnforcement: {},
  PersistentVolumeClaimResize: {},
  RuntimeClass: {},
  CertificateApproval: {},
  CertificateSigning: {},
  ClusterTrustBundleAttest: { since: "1.27" },
  CertificateSubjectRestriction: {},
  DefaultIngressClass: {},
  DenyServiceExternalIPs: {},
  PodTopologyLabels: { since: "1.33" },
  PodGroupWorkloadExists: { since: "1.36" },
  NodeDeclaredFeatureValidator: { since: "1.35" },
  JobValidation: { since: "1.36" },
  PodResizeValidator: { since: "1.36" },
  MutatingAdmissionPolicy: { since: "1.32" },
  MutatingAdmissionWebhook: {},
  ValidatingAdmissionPolicy: {},
  ValidatingAdmissionWebhook: {},
  ResourceQuota: {},
  AlwaysDeny: {},
};

/** Plugins that do not start without a configuration. */
export const configured: readonly string[] = ["ImagePolicyWebhook", "EventRateLimit"];

/** What is on beside upstream's defaults: NodeRestriction always, unless it is disabled by name. */
export function enabledPlugins({ apiServer: { admissionPlugins } }: ClusterSpec): string[] {
  const { enable, disable } = admissionPlugins;
  return [...new Set([...enable, ...(disable.includes("NodeRestriction") ? [] : ["NodeRestriction"])])];
}

/** The plugins that a version knows, by name. */
export const pluginsOf = (kubernetes: string): string[] =>
  Object.entries(plugins)
    .filter(([, { since, gone }]) => (!since || atLeast(kubernetes, since)) && (!gone || !atLeast(kubernetes, gone)))
    .map(([name]) => name)
    .sort();

/** Plugins of upstream's defaults that are off, and the configuration of any. */
export function renderAdmission({ apiServer: { admissionPlugins } }: ClusterSpec): ServerPart {
  const { disable, config } = admissionPlugins;
  const file = `${paths.etc}/admission.yaml`;
  const configuration = {
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "AdmissionConfiguration",
    plugins: Object.entries(config).map(([name, c]) => ({ name, configuration: c })),
  };
  const isConfigured = configuration.plugins.length > 0;
  return {
    flags: {
      ...(disable.length > 0 && { "disable-admission-plugins": disable.join(",") }),
      ...(isConfigured && { "admission-control-config-file": file }),
    },
    files: isConfigured ? [{ path: file, content: yaml(configuration) }] : nothing.files,
  };
}
