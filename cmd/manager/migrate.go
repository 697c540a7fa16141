package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/syncline-dev/syncline/internal/runtime/schema"
)

// migrateCommand makes or prints the schema, for databases whose role may not.
func migrateCommand() *cobra.Command {
	var (
		printOnly     bool
		uriFile, name string
	)
	migrate := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a database's schema up to date, or print the SQL that does",
		Long: "The operator migrates the databases of its JobPools by itself. This command is for those whose role may not:\n" +
			"run it with a role that may, or have a DBA run what --print writes.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printOnly == (uriFile != "") {
				return errors.New("give either --print or --database-uri-file")
			}
			if err := schema.ValidName(name); err != nil {
				return fmt.Errorf("--schema: %w", err)
			}
			if printOnly {
				_, err := fmt.Fprint(cmd.OutOrStdout(), schema.Print(name))
				return err
			}
			return migrate(cmd.Context(), uriFile, name)
		},
	}
	f := migrate.Flags()
	f.BoolVar(&printOnly, "print", false, "write the SQL to standard output and touch nothing")
	f.StringVar(&uriFile, "database-uri-file", "", "file that holds the connection URI")
	f.StringVar(&name, "schema", "syncline", "PostgreSQL schema of Syncline's own tables")
	return migrate
}

// migrate brings the schema up to date. Its errors never hold the URI.
func migrate(ctx context.Context, uriFile, name string) error {
	text, err := os.ReadFile(uriFile)
	if err != nil {
		return fmt.Errorf("read the database URI: %w", err)
	}
	config, err := pgx.ParseConfig(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s does not hold a PostgreSQL connection URI", uriFile)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return schema.Migrate(ctx, conn, name)
}
