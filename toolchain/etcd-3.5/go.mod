module plainkube/toolchain/etcd-3.5
go 1.21
require (
 go.etcd.io/etcd/server/v3 v3.5.7
 go.etcd.io/etcd/etcdctl/v3 v3.5.7
 go.etcd.io/etcd/etcdutl/v3 v3.5.7
)
