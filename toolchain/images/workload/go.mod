module plainkube/toolchain/images/workload

go 1.22
