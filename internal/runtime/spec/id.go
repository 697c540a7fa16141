package spec

import "github.com/google/uuid"

// identity is the namespace of the ids of declared rows.
var identity = uuid.MustParse("6f1c9a4e-3d0b-5b6a-9a53-0c7b1f6f2d11")

// ID is the stable id of a declared row: a custom resource that is deleted and created again finds its row, and so its
// cursor, again. The cluster is part of it, so that two clusters can share a database.
func ID(cluster, kind, namespace, name string) uuid.UUID {
	return uuid.NewSHA1(identity, []byte(cluster+"/"+kind+"/"+namespace+"/"+name))
}
