module plainkube/toolchain/flannel
go 1.26
require github.com/flannel-io/flannel v0.27.4
