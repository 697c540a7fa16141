// Package lab holds what stands around the product on the throw-away node: PostgreSQL, the third-party source, kubectl,
// helm and the console that tells the reader what happens.
//
// It knows nothing of the product's own tables and resources: what is done with them is package scenario's story. The
// demo and the end-to-end suite are its callers; both run inside the namespaces that hack/cluster/node.sh made, so a
// server that is started here ends with the node at the latest.
package lab
