package client

import (
	"context"
	"net/http"

	"supd/supervisor/spec"
)

const accountsPath = "/v1/accounts"

// CreateAccount makes an account. It is not tried again when the outcome is not known: then the account may exist with
// credentials that nobody has; revoke it and try again.
func (c *Client) CreateAccount(ctx context.Context, name string, in AccountRequest, o WriteOptions) (Credentials, error) {
	var out Credentials
	_, err := c.write(ctx, call{method: http.MethodPut, path: accountsPath + "/" + seg(name), body: in}, o, &out)
	return out, err
}

// RevokeAccount forgets an account; its token or certificate is refused from then on.
func (c *Client) RevokeAccount(ctx context.Context, name string, o WriteOptions) error {
	_, err := c.write(ctx, call{method: http.MethodDelete, path: accountsPath + "/" + seg(name)}, o, nil)
	return err
}

// Accounts lists the accounts by name.
func (c *Client) Accounts(ctx context.Context) (spec.List[spec.Account], error) {
	var out spec.List[spec.Account]
	_, err := c.do(ctx, call{method: http.MethodGet, path: accountsPath}, &out)
	return out, err
}

// Whoami tells who the daemon takes this client for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var out Whoami
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/whoami"}, &out)
	return out, err
}
