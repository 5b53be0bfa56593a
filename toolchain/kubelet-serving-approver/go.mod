module plainkube/toolchain/kubelet-serving-approver

go 1.24
