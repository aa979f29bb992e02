package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/supervisor/client"
	"supd/supervisor/spec"
)

func (a *app) authCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "auth",
		Short: "Make and revoke accounts, see who one is",
		Long: `auth handles the accounts by which the API is used over TCP. Each has a role (viewer
reads; operator changes and enters members too; admin may all) for all namespaces or
some, and a token or a certificate to prove it. On a node the unix socket needs none:
root and the daemon's user are admins there, the socket's group operates.`,
	})
	cmd.AddCommand(a.authCreateCommand(), a.authListCommand(), a.authRevokeCommand(), a.authWhoamiCommand())
	return cmd
}

// authCreate are the flags of auth create.
type authCreate struct {
	role, expires, out string
	namespaces         []string
	certificate        bool
}

func (a *app) authCreateCommand() *cobra.Command {
	var f authCreate
	cmd := &cobra.Command{
		Use:   "create NAME --role viewer|operator|admin",
		Short: "Make an account and print its token, this once",
		Long: `create makes an account and prints its token on standard output. The cluster keeps only a
hash: nobody can show it again. Give it to supctl by SUPCTL_TOKEN or --token-file; it
carries what is needed to know the cluster's nodes, so no CA file is.

With --certificate a key is made here, which never leaves, and the cluster signs a
certificate for it: NAME.key, NAME.pem and NAME.ca.pem, or with --out PREFIX
PREFIX.key and so on, for --key, --cert and --ca.`,
		Example: `  supctl auth create ci --role operator --namespace web --expires 90d > ci.token
  supctl auth create ann --role admin --certificate --out ~/.config/supctl/ann`,
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes", outputs: "json yaml jsonpath"},
	}
	cmd.Long += "\n\nExit status: 0 done; 2 wrong usage; 4 refused, or there is such an account; 5 no leader."
	cmd.Flags().StringVar(&f.role, "role", "", "viewer, operator or admin")
	cmd.Flags().StringArrayVarP(&f.namespaces, "namespace", "n", nil, "only this namespace; may be given several times (default: all)")
	cmd.Flags().StringVar(&f.expires, "expires", "", "for so long: 12h, 90d (default: until it is revoked)")
	cmd.Flags().BoolVar(&f.certificate, "certificate", false, "a certificate and its key instead of a token")
	cmd.Flags().StringVar(&f.out, "out", "", "the file for the token (mode 0600), or what the names of the certificate's files begin with")
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		in := client.AccountRequest{Role: spec.Role(f.role), Namespaces: f.namespaces}
		kind := spec.AccountToken
		if f.certificate {
			kind = spec.AccountCertificate
		}
		if f.role == "" {
			return usagef("want --role viewer, operator or admin")
		}
		if err := spec.CheckAccount(args[0], in.Role, in.Namespaces, kind); err != nil {
			return usagef("cannot make the account: %v", err)
		}
		d, err := lifetime(f.expires)
		if err != nil {
			return err
		}
		in.ExpiresIn = spec.Duration(d)
		return a.createAccount(cmd.Context(), args[0], in, f)
	})
	return cmd
}

// lifetime reads a time such as 12h or 90d; "" is 0.
func lifetime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, derr := strconv.Atoi(days)
		d, err = time.Duration(n)*24*time.Hour, derr
		if n > 36500 {
			d = 0
		}
	}
	if err != nil || d <= 0 {
		return 0, usagef("cannot read --expires %q: want a time more than 0, such as 12h or 90d", s)
	}
	return d, nil
}

func (a *app) createAccount(ctx context.Context, name string, in client.AccountRequest, f authCreate) error {
	files, err := newCredentialFiles(name, f)
	if err != nil {
		return err
	}
	defer files.drop() // what was not kept
	in.Request = files.request
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	out, err := c.CreateAccount(ctx, name, in, a.writeOptions())
	if err != nil {
		return err
	}
	if err := files.keep(out); err != nil {
		return spec.Errorf(spec.CodeInternal, "account %s was made, but its credentials are lost: %v; revoke it: supctl auth revoke %s", name, err, name)
	}
	switch {
	case a.isData():
		return a.writeValue(out)
	case len(files.names) == 0:
		a.printf("%s\n", out.Token)
		a.notef("account/%s created; its token is shown this once", name)
	default:
		a.printf("account/%s created\n", name)
		a.notef("written: %s", strings.Join(files.names, ", "))
	}
	return nil
}

func (a *app) authListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"},
		Short:       "List the accounts",
		Long:        "list shows the accounts. Nothing of their tokens is kept that could be shown.\n\nExit status: 0 done; 4 refused; 5 no daemon.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: objectForms},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		list, err := c.Accounts(cmd.Context())
		if err != nil {
			return err
		}
		if a.output == "name" {
			for _, x := range list.Items {
				a.printf("account/%s\n", x.Metadata.Name)
			}
			return nil
		}
		if a.isData() {
			return a.writeValue(list)
		}
		a.printf("%s", accountGrid(list.Items, a.now()))
		return nil
	})
	return cmd
}

func accountGrid(items []spec.Account, now time.Time) grid {
	g := grid{head: []string{"NAME", "ROLE", "NAMESPACES", "KIND", "EXPIRES", "CREATED BY", "AGE"}}
	for _, x := range items {
		expires := "never"
		switch {
		case x.Status.Expired:
			expires = "expired"
		case x.Spec.Expires != nil:
			expires = x.Spec.Expires.UTC().Format(time.RFC3339)
		}
		g.rows = append(g.rows, []string{
			x.Metadata.Name, string(x.Spec.Role), namespacesWord(x.Spec.Namespaces), x.Spec.Kind, expires, dash(x.Status.CreatedBy), age(x.Metadata.CreatedAt, now),
		})
	}
	return g
}

func namespacesWord(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(slices.Sorted(slices.Values(list)), ",")
}

func (a *app) authRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:         "revoke NAME",
		Short:       "Forget an account: its token or certificate is refused from now on",
		Long:        "revoke forgets an account. Whoever comes with its token or certificate is refused at once,\non every node, and what he has open (logs, watches, commands in members) ends.\n\nExit status: 0 done; 3 not found; 4 refused; 5 no leader.",
		Args:        cobra.ExactArgs(1),
		Annotations: map[string]string{writes: "yes"},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.RevokeAccount(cmd.Context(), args[0], a.writeOptions()); err != nil {
			return err
		}
		a.printf("account/%s revoked\n", args[0])
		return nil
	})
	return cmd
}

func (a *app) authWhoamiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:         "whoami",
		Short:       "Show who the daemon takes one for, and what one may",
		Long:        "whoami shows who the daemon takes the caller for, and what he may.\n\nExit status: 0 done; 4 nobody it knows; 5 no daemon.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{outputs: "json yaml jsonpath"},
	}
	cmd.RunE = a.do(func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		who, err := c.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		if a.isData() {
			return a.writeValue(who)
		}
		d := &describer{a: a}
		d.field("Who", "%s", who.Who)
		d.field("Role", "%s", who.Role)
		d.field("Namespaces", "%s", namespacesWord(who.Namespaces))
		if who.Expires != nil {
			d.field("Expires", "%s", who.Expires.UTC().Format(time.RFC3339))
		}
		d.field("Node", "%s", who.Node)
		return nil
	})
	return cmd
}
