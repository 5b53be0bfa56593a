package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// connection tells how to reach a host over SSH. A nil pointer is a property that is not set.
type connection struct {
	Host               string      `json:"host"`
	Port               float64     `json:"port"`
	User               string      `json:"user"`
	Password           *string     `json:"password"`
	PrivateKey         *string     `json:"privateKey"`
	PrivateKeyPassword *string     `json:"privateKeyPassword"`
	AgentSocketPath    *string     `json:"agentSocketPath"`
	HostKey            *string     `json:"hostKey"`
	DialErrorLimit     int         `json:"dialErrorLimit"` // negative: no limit
	PerDialTimeout     int         `json:"perDialTimeout"` // seconds; 0: none
	Proxy              *connection `json:"proxy"`
}

// UnmarshalJSON fills in the defaults of what older state may not hold.
func (c *connection) UnmarshalJSON(text []byte) error {
	type fields connection
	f := fields{User: "root", Port: 22, DialErrorLimit: 10, PerDialTimeout: 15}
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	*c = connection(f)
	return nil
}

func (c *connection) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) }

// The pause between two dials grows by half each time.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// dial connects to the host, through the proxy if there is one, and tries again while that fails. Closing the client
// closes all connections behind it.
func (c *connection) dial(ctx context.Context, log logger) (*ssh.Client, error) {
	if c.Proxy == nil {
		return c.retry(ctx, log, "Dial", (&net.Dialer{}).DialContext)
	}
	proxy, err := c.Proxy.dial(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	client, err := c.retry(ctx, log, "Dial from proxy", proxy.DialContext)
	if err != nil {
		discard(proxy)
		return nil, err
	}
	go func() {
		_ = client.Wait()
		discard(proxy)
	}()
	return client, nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (c *connection) retry(ctx context.Context, log logger, what string, dial dialFunc) (*ssh.Client, error) {
	config, closeAgent, err := c.config()
	if err != nil {
		return nil, err
	}
	defer closeAgent()

	limit := "inf"
	if c.DialErrorLimit >= 0 {
		limit = strconv.Itoa(c.DialErrorLimit)
	}
	pause := firstPause
	for failures := 0; ; failures++ {
		client, err := c.attempt(ctx, config, dial)
		var mismatch *hostKeyError
		switch {
		case err == nil:
			return client, nil
		case ctx.Err() != nil, errors.As(err, &mismatch):
			return nil, err
		case c.DialErrorLimit >= 0 && failures >= c.DialErrorLimit:
			return nil, fmt.Errorf("after %d failed attempts: %w; expected an SSH server at %s that lets %s in: see that "+
				"the host is on and reachable, then run the same command again", failures, err, c.address(), c.User)
		}
		log.status(ctx, fmt.Sprintf("%s %d/%s failed: retrying: %s", what, failures+1, limit, err))
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, maxPause)
	}
}

// attempt dials once. The timeout covers the SSH handshake as well: a host may take connections and never answer.
func (c *connection) attempt(ctx context.Context, config *ssh.ClientConfig, dial dialFunc) (*ssh.Client, error) {
	if c.PerDialTimeout > 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(c.PerDialTimeout)*time.Second)
		defer cancel()
		ctx = limited
	}
	conn, err := dial(ctx, "tcp", c.address())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { discard(conn) })
	sshConn, channels, requests, err := ssh.NewClientConn(conn, c.address(), config)
	if !stop() {
		return nil, fmt.Errorf("ssh: handshake with %s: %w", c.address(), context.Cause(ctx))
	}
	if err != nil {
		discard(conn)
		return nil, err
	}
	client := ssh.NewClient(sshConn, channels, requests)
	go keepAlive(client)
	return client, nil
}

// How often a server is asked whether it is there, and how long it may take to answer.
const (
	aliveInterval = 10 * time.Second
	aliveTimeout  = 30 * time.Second
)

// keepAlive closes a client whose server has stopped to answer, so that what waits for it ends: a host without power
// sends no goodbye. It returns when the client is closed.
func keepAlive(client *ssh.Client) {
	closed := make(chan struct{})
	go func() {
		_ = client.Wait()
		close(closed)
	}()
	for {
		select {
		case <-closed:
			return
		case <-time.After(aliveInterval):
		}
		answered := make(chan struct{})
		go func() {
			// Any answer will do, a refusal too.
			_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
			close(answered)
		}()
		select {
		case <-answered:
		case <-time.After(aliveTimeout):
			discard(client)
			return
		}
	}
}

// config returns the SSH settings, and a function that ends the use of the agent.
func (c *connection) config() (*ssh.ClientConfig, func(), error) {
	config := &ssh.ClientConfig{User: c.User, HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // hostKey pins
	if c.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*c.HostKey))
		if err != nil {
			return nil, nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback = pinned(key)
		config.HostKeyAlgorithms = []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			// The key's type also names the oldest of its signature algorithms, which servers refuse today.
			config.HostKeyAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
		}
	}
	if c.PrivateKey != nil {
		signer, err := c.signer()
		if err != nil {
			return nil, nil, fmt.Errorf("privateKey: %w", err)
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if c.Password != nil {
		config.Auth = append(config.Auth, ssh.Password(*c.Password), ssh.KeyboardInteractive(c.answer))
	}
	conn, err := c.dialAgent()
	if err != nil {
		return nil, nil, err
	}
	if conn == nil {
		return config, func() {}, nil
	}
	config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	return config, func() { discard(conn) }, nil
}

func (c *connection) signer() (ssh.Signer, error) {
	if c.PrivateKeyPassword != nil {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(*c.PrivateKey), []byte(*c.PrivateKeyPassword))
	}
	return ssh.ParsePrivateKey([]byte(*c.PrivateKey))
}

func (c *connection) answer(_, _ string, questions []string, _ []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range answers {
		answers[i] = *c.Password
	}
	return answers, nil
}

// dialAgent connects to the SSH agent. It returns nil if there is none, or if it is of no use: SSH tries the keys of
// one source only, and privateKey comes first.
func (c *connection) dialAgent() (net.Conn, error) {
	path := os.Getenv("SSH_AUTH_SOCK")
	if c.AgentSocketPath != nil {
		path = *c.AgentSocketPath
	} else if path == "" {
		return nil, nil
	}
	if c.PrivateKey != nil {
		return nil, nil
	}
	conn, err := net.Dial("unix", path)
	if err != nil && c.AgentSocketPath == nil && c.Password != nil {
		// Nobody asked for this agent, and there is another way in.
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("SSH agent: %w", err)
	}
	return conn, nil
}

// hostKeyError says that a host has another key than the pinned one.
type hostKeyError struct {
	address   string
	got, want ssh.PublicKey
}

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("host key mismatch: %s has %s %s, but hostKey pins %s %s. Another machine may answer in its place. "+
		"If you know why the key changed (the host was installed anew), pin the new one where hostKey is taken from: "+
		"plainkube:hosts[].hostKey, or the file of plainkube:ssh.knownHostsFile",
		e.address, e.got.Type(), ssh.FingerprintSHA256(e.got), e.want.Type(), ssh.FingerprintSHA256(e.want))
}

func pinned(want ssh.PublicKey) ssh.HostKeyCallback {
	return func(address string, _ net.Addr, got ssh.PublicKey) error {
		if !bytes.Equal(got.Marshal(), want.Marshal()) {
			return &hostKeyError{address, got, want}
		}
		return nil
	}
}
