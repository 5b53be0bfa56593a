module plainkube/toolchain/images/volume-helper

go 1.22
