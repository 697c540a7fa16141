package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgreSQL's port on the node, and the role and database that belong to the application. The role is no superuser.
const (
	PostgresPort = 5432
	Role         = "app"
	Password     = "app-secret"
	Database     = "app"
)

// A role that owns nothing, as config/samples/endpoint names it.
const (
	CallerRole     = "shop"
	callerPassword = "change-me"
)

// DatabaseURI is what the application, the operator and the workers connect with.
func DatabaseURI() string { return uri(Role, Password) }

// CallerURI is what CallerRole connects with.
func CallerURI() string { return uri(CallerRole, callerPassword) }

func uri(role, password string) string {
	return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", role, password, Address, PostgresPort, Database)
}

func adminURI() string {
	return fmt.Sprintf("postgres://postgres@%s:%d/postgres?sslmode=disable", Address, PostgresPort)
}

// hba are lines of pg_hba.conf: pods come in by password, the node's own superuser needs none.
func hba() string {
	line := "host %s %s %s %s\n"
	return fmt.Sprintf(line, "all", "postgres", Address+"/32", "trust") +
		fmt.Sprintf(line, "all", "all", Address+"/32", "scram-sha-256") +
		fmt.Sprintf(line, "all", "all", PodRange, "scram-sha-256")
}

// StartPostgres makes a database server with the application's empty database in it.
func StartPostgres(ctx context.Context, e *Env) error {
	dir := filepath.Join(e.State, "postgres")
	if err := initdb(ctx, e, dir); err != nil {
		return err
	}
	as, err := unprivileged()
	if err != nil {
		return err
	}
	command := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(e.PostgresBin, "postgres"), "-D", filepath.Join(dir, "data"), "-k", dir,
		"-p", strconv.Itoa(PostgresPort), "-c", "listen_addresses="+Address+",127.0.0.1", "-c", "max_connections=200",
		"-c", "shared_buffers=64MB", "-c", "log_min_messages=warning")
	command.Dir = dir
	s, err := launch(ctx, e, "postgres", PostgresPort, command, as)
	if err != nil {
		return err
	}
	var admin *pgx.Conn
	err = s.await(ctx, e, func() (err error) {
		admin, err = pgx.Connect(ctx, adminURI())
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(ctx) }()
	for _, statement := range []string{
		"CREATE ROLE " + Role + " LOGIN PASSWORD '" + Password + "'",
		"CREATE DATABASE " + Database + " OWNER " + Role,
		"CREATE ROLE " + CallerRole + " LOGIN PASSWORD '" + callerPassword + "'",
	} {
		if _, err := admin.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make the application's database: %w", err)
		}
	}
	return nil
}

// initdb makes the server's files, owned by who it will run as.
func initdb(ctx context.Context, e *Env, dir string) error {
	as, err := unprivileged()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the database's folder: %w", err)
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return fmt.Errorf("hand the database's folder over: %w", err)
		}
	}
	data := filepath.Join(dir, "data")
	command := exec.CommandContext(ctx, filepath.Join(e.PostgresBin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	command.Dir, command.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("make the database's files: %w\n%s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open pg_hba.conf: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(hba()); err != nil {
		return fmt.Errorf("let the pods in: %w", err)
	}
	return nil
}
