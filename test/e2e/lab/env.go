package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Address is the node's address: where its processes listen and where pods reach them.
const Address = "10.99.0.1"

// PodRange is the range of the pods' addresses.
const PodRange = "10.244.0.0/24"

// Env says where things are. Every path is absolute.
type Env struct {
	// Root is the project's folder: charts and samples are read from it.
	Root string
	// State is the cluster's folder, see hack/cluster/node.sh.
	State string
	// Bin holds kubectl, helm and ctr.
	Bin string
	// PostgresBin holds initdb and postgres.
	PostgresBin string
	// PocketBase is the third-party server's program.
	PocketBase string
}

// variables names the environment variable of each path.
func (e *Env) variables() map[string]*string {
	return map[string]*string{
		"SYNCLINE_LAB_ROOT": &e.Root, "SYNCLINE_LAB_STATE": &e.State, "SYNCLINE_LAB_BIN": &e.Bin,
		"SYNCLINE_LAB_POSTGRES": &e.PostgresBin, "SYNCLINE_LAB_POCKETBASE": &e.PocketBase,
	}
}

// FromEnv reads what Environ wrote. A missing path is an error that names it.
func FromEnv() (Env, error) {
	var e Env
	for name, path := range e.variables() {
		*path = os.Getenv(name)
		if !filepath.IsAbs(*path) {
			return Env{}, fmt.Errorf("%s is %q, want an absolute path: start this through hack/demo.sh or hack/e2e.sh", name, *path)
		}
	}
	return e, nil
}

// Environ is the environment of a process that reads it with FromEnv, and of every command that finds the cluster. It
// names no proxy: none can be reached from the node's private network.
func (e *Env) Environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasSuffix(strings.ToLower(name), "_proxy")
	})
	for name, path := range e.variables() {
		env = append(env, name+"="+*path)
	}
	return append(env, "KUBECONFIG="+filepath.Join(e.State, "kubeconfig"),
		"PGHOST="+Address, fmt.Sprintf("PGPORT=%d", PostgresPort), "PGUSER="+Role, "PGPASSWORD="+Password, "PGDATABASE="+Database,
		"PATH="+e.Bin+":"+e.PostgresBin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
}

// Log is the file that a component of the node, or a server started here, writes to.
func (e *Env) Log(name string) string { return filepath.Join(e.State, "log", name+".log") }
