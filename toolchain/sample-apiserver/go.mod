module plainkube/toolchain/sample-apiserver

go 1.26

require k8s.io/sample-apiserver v0.29.2
