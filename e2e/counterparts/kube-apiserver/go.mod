// Marks the module root. The build takes -modfile=versions/VERSION.mod.
module sealwax.internal/kube-apiserver

go 1.26
