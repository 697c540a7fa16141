//go:build tools

// Package pocketbase pins the third-party server that the demo and the end-to-end suite synchronise from: PocketBase's
// own program, unmodified. It is a module of its own, so that none of its dependencies reach the product.
package pocketbase

import _ "github.com/pocketbase/pocketbase/examples/base"
