import * as pulumi from "@pulumi/pulumi";
import { resolveSource } from "./binaries/obtain.ts";
import { pinsFor } from "./binaries/pins.ts";
import { stagesOf } from "./binaries/stages.ts";
import { clusterSchema } from "./schema.ts";
import { type ClusterSpec, ConfigError, parseCluster } from "./spec.ts";
import { nearest } from "./suggestion.ts";

/** The only reader of Pulumi's configuration: the stack as a checked ClusterSpec, or a ConfigError with every problem. */
export async function loadSpec(): Promise<ClusterSpec> {
  // An own property each, whatever its name is.
  const raw = Object.fromEntries(
    Object.entries(pulumi.runtime.allConfig()).flatMap(([key, value]): [string, unknown][] => {
      const [namespace, name] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];
      if (namespace === pulumi.getProject())
        return [[name, Object.hasOwn(clusterSchema.shape, name) ? decode(name, value) : value]];
      // Other namespaces are those of providers; a misspelt one would be read by nobody.
      return nearest(namespace, [pulumi.getProject()]) ? [[key, value]] : [];
    }),
  );
  const spec = checked(raw);
  const binaries = await resolveSource(spec.binaries, (line) => void pulumi.log.info(line));
  try {
    pinsFor(Object.values(stagesOf(spec)).flat(), spec.versions, "amd64", binaries);
  } catch (error) {
    throw new pulumi.RunError(`the binaries cannot be pinned; nothing was changed.\n${(error as Error).message}`);
  }
  return { ...spec, binaries };
}

function checked(raw: Readonly<Record<string, unknown>>): ClusterSpec {
  try {
    return parseCluster(raw, {
      projectDirectory: process.cwd(),
      isPreview: pulumi.runtime.isDryRun(),
      agentSocket: process.env.SSH_AUTH_SOCK,
    });
  } catch (error) {
    // Pulumi prints a RunError's message alone, without a stack trace.
    throw error instanceof ConfigError ? new pulumi.RunError(error.message) : error;
  }
}

/** Pulumi hands structured values over as JSON and strings as they are. */
function decode(name: string, value: string): unknown {
  if (name === "clusterName") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
