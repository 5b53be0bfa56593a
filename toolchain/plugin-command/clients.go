package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// How long a client is kept for the next command on its host. A run's commands follow each other sooner.
	keepFor = 5 * time.Second
	// How long a kept client's server may take to open a session, before another connection is made: it may have gone.
	reuseTimeout = 2 * time.Second
)

// clients are SSH clients whose command has ended, kept for the next one with the same connection. One command at a time
// has a client, so that none disturbs another, and no limit on sessions a connection is met.
type clients struct {
	mu   sync.Mutex
	idle map[string][]*ssh.Client
}

var kept = clients{idle: map[string][]*ssh.Client{}}

// session opens a session over a kept client, or a new one.
func (k *clients) session(ctx context.Context, log logger, c *connection) (*ssh.Client, *ssh.Session, error) {
	key, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	for client := k.take(string(key)); client != nil; client = k.take(string(key)) {
		if session := openSoon(ctx, client); session != nil {
			return client, session, nil
		}
		discard(client)
	}
	client, err := c.dial(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	session, err := client.NewSession()
	if err != nil {
		discard(client)
		return nil, nil, err
	}
	return client, session, nil
}

// keep puts a client by that has no session any more, and closes it when nobody takes it.
func (k *clients) keep(c *connection, client *ssh.Client) {
	key, err := json.Marshal(c)
	if err != nil {
		discard(client)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle[string(key)] = append(k.idle[string(key)], client)
	time.AfterFunc(keepFor, func() {
		if k.remove(string(key), client) {
			discard(client)
		}
	})
}

// take returns the client that was used last, or nil.
func (k *clients) take(key string) *ssh.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.idle[key]
	if len(all) == 0 {
		return nil
	}
	client := all[len(all)-1]
	k.idle[key] = all[:len(all)-1]
	return client
}

// remove takes this client, and tells whether it was there.
func (k *clients) remove(key string, client *ssh.Client) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, one := range k.idle[key] {
		if one == client {
			k.idle[key] = append(k.idle[key][:i:i], k.idle[key][i+1:]...)
			return true
		}
	}
	return false
}

// openSoon returns a session, or nil if the server does not open one in time.
func openSoon(ctx context.Context, client *ssh.Client) *ssh.Session {
	opened := make(chan *ssh.Session, 1)
	go func() {
		session, err := client.NewSession()
		if err != nil {
			session = nil
		}
		opened <- session
	}()
	select {
	case session := <-opened:
		return session
	case <-ctx.Done():
	case <-time.After(reuseTimeout):
	}
	return nil
}
