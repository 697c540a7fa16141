package mapping

import (
	"fmt"
	"regexp"
	"slices"
)

// maxIdentifier is the length of a PostgreSQL identifier in bytes; longer ones would be cut off silently.
const maxIdentifier = 63

// reserved are the columns that every managed table has.
var reserved = []string{"id", "connection_id", "external_id", "version", "created_at", "updated_at", "deleted_at"}

// system are PostgreSQL's own columns, which no table can declare.
var system = []string{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// nameProblem says why a field cannot have this name; empty when it can.
func nameProblem(name string) string {
	switch {
	case name == "":
		return "a field needs a name"
	case !identifier.MatchString(name):
		return fmt.Sprintf("field name %q must consist of letters, digits and _, and not begin with a digit", name)
	case len(name) > maxIdentifier:
		return fmt.Sprintf("field name %q has %d bytes, a column name at most %d", name, len(name), maxIdentifier)
	case slices.Contains(reserved, name):
		return fmt.Sprintf("field name %q is a column that every table has: choose another, such as source_%s", name, name)
	case slices.Contains(system, name):
		return fmt.Sprintf("field name %q is a system column of PostgreSQL: choose another", name)
	}
	return ""
}
