module plainkube/toolchain/images/pause

go 1.22
