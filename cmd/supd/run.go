package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"supd/configs"
	"supd/supervisor"
)

// configFlags adds --config and one flag for each key of the configuration.
func configFlags(f *pflag.FlagSet) {
	f.String("config", "", "configuration file (YAML, JSON, TOML or HCL); default "+configs.DefaultDaemonFile+", if it exists")
	for _, k := range configs.DaemonKeys() {
		if k == "bootstrap_secret" {
			continue // everybody on the host sees the flags of its processes
		}
		f.String(strings.ReplaceAll(k, "_", "-"), "", "overrides "+k+" of the configuration")
	}
}

// loadConfig reads the configuration as the flags, the environment and the file say.
func loadConfig(f *pflag.FlagSet) (configs.Daemon, error) {
	file, err := f.GetString("config")
	if err != nil {
		return configs.Daemon{}, err
	}
	given := map[string]string{}
	for _, k := range configs.DaemonKeys() {
		if fl := f.Lookup(strings.ReplaceAll(k, "_", "-")); fl != nil && fl.Changed {
			given[k] = fl.Value.String()
		}
	}
	c, err := configs.LoadDaemon(configs.DaemonSources{File: file, Env: os.Environ(), Flags: given})
	if err != nil {
		return c, usageError{err}
	}
	return c, nil
}

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon of this host",
		Long: `Run runs the daemon of this host until SIGTERM or SIGINT. That stops no member: the
keeper, a process of its own, goes on supervising them, and the next supd finds them.
The configuration comes from flags, the environment (SUPD_*), a file, and defaults,
in this order; supd config prints what is in force.`,
		Example: "  supd run --config /etc/supd/supd.yaml\n  supd run --data-dir /srv/supd --bootstrap-expect 1",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			return a.runDaemon(c.Context(), cfg)
		},
	}
	configFlags(cmd.Flags())
	return cmd
}

// runDaemon runs until a signal comes.
func (a *app) runDaemon(ctx context.Context, cfg configs.Daemon) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := a.logger(cfg)
	notify := func(what string) {
		if err := supervisor.Notify(what); err != nil {
			log.Warn("systemd not told", "err", err)
		}
	}
	d, err := supervisor.New(supervisor.Options{
		Config: cfg, Version: versionText(), Logger: log, Ready: func() { notify("READY=1") },
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		notify("STOPPING=1")
		stop() // a second signal ends the process at once
	})()
	return d.Run(ctx)
}

func (a *app) logger(cfg configs.Daemon) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo // Check has refused what is no level
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the configuration and print what is in force",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			text, err := cfg.YAML()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, text)
			return err
		},
	}
	configFlags(cmd.Flags())
	return cmd
}
