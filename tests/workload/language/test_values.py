"""Two forms of one function are equal in value: what the counts assume about the order of the products."""

import numpy as np

RNG = np.random.default_rng(5)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_latent_attention_absorbed_equals_expanded():
    """Scores and results on the cached rows, with queries projected to them, equal those on the keys and values."""
    heads, rank, dr, dn, dv, cached, new = 3, 10, 4, 6, 5, 20, 4
    rows, rotated = RNG.normal(size=(cached, rank)), RNG.normal(size=(cached, dr))
    up_k, up_v = RNG.normal(size=(heads, dn, rank)), RNG.normal(size=(heads, dv, rank))
    q, q_rotated = RNG.normal(size=(new, heads, dn)), RNG.normal(size=(new, heads, dr))
    keys, values = np.einsum("cr,hdr->chd", rows, up_k), np.einsum("cr,hdr->chd", rows, up_v)
    shared = np.einsum("nhd,cd->hnc", q_rotated, rotated)
    expanded = np.einsum("hnc,chd->nhd", softmax(np.einsum("nhd,chd->hnc", q, keys) + shared), values)
    absorbed_q = np.einsum("nhd,hdr->nhr", q, up_k)
    weights = softmax(np.einsum("nhr,cr->hnc", absorbed_q, rows) + shared)
    absorbed = np.einsum("nhr,hdr->nhd", np.einsum("hnc,cr->nhr", weights, rows), up_v)
    np.testing.assert_allclose(absorbed, expanded, rtol=1e-12, atol=1e-13)


def recurrent(q, k, v, beta, decay):
    """S <- a S; v' = beta (v - S^T k); S <- S + k v'; y = S^T q."""
    state, out = np.zeros((k.shape[1], v.shape[1])), []
    for t in range(len(q)):
        state = decay[t] * state
        state = state + np.outer(k[t], beta[t] * (v[t] - state.T @ k[t]))
        out.append(state.T @ q[t])
    return np.array(out), state


def chunked(q, k, v, beta, decay, chunk):
    """The products that `core_op` counts: k k^T, q k^T, the triangular system's two products, scores times values."""
    state, out = np.zeros((k.shape[1], v.shape[1])), []
    for start in range(0, len(q), chunk):
        part = slice(start, start + chunk)
        qc, kc, vc, b, g = q[part], k[part], v[part], beta[part], np.cumprod(decay[part])
        ratio = np.tril(g[:, None] / g[None, :])
        system = np.eye(len(g)) + np.tril(b[:, None] * (kc @ kc.T) * ratio, -1)
        inverse = np.linalg.inv(system)
        new = inverse @ (b[:, None] * vc) - (inverse @ ((b * g)[:, None] * kc)) @ state
        out.append((g[:, None] * qc) @ state + ((qc @ kc.T) * ratio) @ new)
        state = g[-1] * state + ((g[-1] / g)[:, None] * kc).T @ new
    return np.concatenate(out), state


def test_the_delta_rule_in_chunks_equals_token_by_token():
    tokens, dk, dv = 37, 8, 6
    q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in RNG.normal(size=(2, tokens, dk)))
    v, beta = RNG.normal(size=(tokens, dv)), RNG.uniform(0.1, 1, tokens)
    decay = RNG.uniform(0.7, 1, tokens)
    y, state = recurrent(q, k, v, beta, decay)
    for chunk in (1, 5, 16, 64):
        z, last = chunked(q, k, v, beta, decay, chunk)
        np.testing.assert_allclose(z, y, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(last, state, rtol=1e-10, atol=1e-12)


def test_lightning_attention_in_blocks_equals_token_by_token():
    tokens, d, decay, block = 40, 6, 0.9, 16
    q, k, v = RNG.normal(size=(3, tokens, d))
    state, y = np.zeros((d, d)), []
    for t in range(tokens):
        state = decay * state + np.outer(k[t], v[t])
        y.append(q[t] @ state)
    state, z = np.zeros((d, d)), []
    for start in range(0, tokens, block):
        part = slice(start, start + block)
        n = len(q[part])
        power = decay ** np.arange(1, n + 1)
        inside = np.tril((q[part] @ k[part].T) * decay ** (np.subtract.outer(np.arange(n), np.arange(n)).clip(0)))
        z.append((power[:, None] * q[part]) @ state + inside @ v[part])
        state = decay**n * state + ((decay ** (n - np.arange(1, n + 1)))[:, None] * k[part]).T @ v[part]
    np.testing.assert_allclose(np.concatenate(z), np.array(y), rtol=1e-11, atol=1e-12)
