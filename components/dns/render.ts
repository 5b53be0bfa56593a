import type { ClusterSpec } from "../spec.ts";

/** CoreDNS' configuration: the cluster's names itself, the rest from the host's name servers. */
export const renderCorefile = ({ network }: ClusterSpec): string => `.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes ${network.dnsDomain} in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
`;
