//! Proofs checked against roots (RFC 9162 §2.1.3.2 and §2.1.4.2).
//!
//! Nothing here is shared with the making of proofs: both follow the RFC on their own.

use thiserror::Error;

use super::hash::{Hash, empty_root, node_hash};

/// A proof does not prove what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The tree has no such record.
    #[error("the proof names record {index}, the tree has {size}; ask for another proof")]
    Index {
        /// What the proof is about.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("the log went back from {old} to {new} records; keep both checkpoints as evidence")]
    Sizes {
        /// Leaves of the earlier tree.
        old: u64,
        /// Leaves of the later tree.
        new: u64,
    },
    /// There are too few or too many hashes for these sizes.
    #[error(
        "the proof has {hashes} hashes, which do not fit a tree of {size} records; ask for another proof"
    )]
    Length {
        /// Hashes of the proof.
        hashes: usize,
        /// Leaves of the (later) tree.
        size: u64,
    },
    /// The hashes lead to another root than the one given for the (later) tree.
    #[error(
        "the proof leads to the root {computed}, the checkpoint says {expected}; do not rely on this record"
    )]
    Root {
        /// Where the hashes lead.
        computed: Hash,
        /// What the root should be.
        expected: Hash,
    },
    /// The hashes lead to another root than the one given for the earlier tree.
    #[error(
        "the proof leads to the earlier root {computed}, it was {expected}: the log changed its past; keep both checkpoints as evidence"
    )]
    OldRoot {
        /// Where the hashes lead.
        computed: Hash,
        /// What the earlier root was.
        expected: Hash,
    },
}

/// Checks that `leaf` is at `index` of the tree of `size` leaves with this `root` (RFC 9162
/// §2.1.3.2).
///
/// # Errors
/// [`ProofError`] if the proof does not show that.
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let length = ProofError::Length {
        hashes: proof.len(),
        size,
    };
    // The RFC's names: fn and sn are the node's and the last node's index at the height reached.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // Heights at which the node has no sibling. `node` is not 0 here: it is odd or `last`.
            let skip = node.trailing_zeros();
            (node, last) = (node >> skip, last >> skip);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    check_root(hash, root)
}

/// Checks that the tree of `old_size` leaves with root `old_root` is the beginning of the tree of
/// `new_size` leaves with root `new_root` (RFC 9162 §2.1.4.2).
///
/// The two cases that the RFC leaves out prove themselves: equal trees have equal roots, and the
/// empty tree is the beginning of every tree. Their proof is empty.
///
/// # Errors
/// [`ProofError`] if the proof does not show that.
pub fn verify_consistency(
    old_size: u64,
    old_root: Hash,
    new_size: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Sizes {
            old: old_size,
            new: new_size,
        });
    }
    let length = ProofError::Length {
        hashes: proof.len(),
        size: new_size,
    };
    if old_size == 0 {
        check_old_root(empty_root(), old_root)?;
    }
    if new_size == 0 {
        check_root(empty_root(), new_root)?;
    }
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(length);
        }
        return if old_size == 0 {
            Ok(())
        } else {
            check_old_root(new_root, old_root)
        };
    }

    let (mut node, mut last) = (old_size - 1, new_size - 1);
    // Up to the largest subtree in which the old tree ends.
    let skip = node.trailing_ones();
    (node, last) = (node >> skip, last >> skip);
    // That subtree is the whole old tree if the size is a power of two, and the proof omits it.
    let (first, rest) = if node == 0 {
        (old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(length)?;
        (*first, rest)
    };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            let skip = node.trailing_zeros();
            (node, last) = (node >> skip, last >> skip);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(length);
    }
    check_old_root(old_hash, old_root)?;
    check_root(new_hash, new_root)
}

fn check_root(computed: Hash, expected: Hash) -> Result<(), ProofError> {
    if computed == expected {
        Ok(())
    } else {
        Err(ProofError::Root { computed, expected })
    }
}

fn check_old_root(computed: Hash, expected: Hash) -> Result<(), ProofError> {
    if computed == expected {
        Ok(())
    } else {
        Err(ProofError::OldRoot { computed, expected })
    }
}

/// RFC 9162's definitions, word for word and slow, to compare with.
#[cfg(test)]
pub(super) mod naive {
    use super::{Hash, empty_root, node_hash};

    /// The largest power of two smaller than `n`.
    fn k(n: usize) -> usize {
        let mut k = 1;
        while 2 * k < n {
            k *= 2;
        }
        k
    }

    /// MTH (§2.1.1).
    pub(crate) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(k(leaves.len()));
                node_hash(&root(left), &root(right))
            }
        }
    }

    /// PATH (§2.1.3.1).
    pub(crate) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = k(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut proof, sibling) = if index < k {
            (path(index, left), root(right))
        } else {
            (path(index - k, right), root(left))
        };
        proof.push(sibling);
        proof
    }

    /// PROOF (§2.1.4.1); empty for the empty tree.
    pub(crate) fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
        if old == 0 {
            Vec::new()
        } else {
            subproof(old, leaves, true)
        }
    }

    fn subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if known {
                Vec::new()
            } else {
                vec![root(leaves)]
            };
        }
        let k = k(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut proof, sibling) = if old <= k {
            (subproof(old, left, known), root(right))
        } else {
            (subproof(old - k, right, false), root(left))
        };
        proof.push(sibling);
        proof
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hash::leaf_hash;
    use super::*;

    fn leaves(size: usize) -> Vec<Hash> {
        (0..size as u64)
            .map(|index| leaf_hash(&index.to_be_bytes()))
            .collect()
    }

    /// Every way to damage a proof slightly.
    fn damaged(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = Vec::new();
        for position in 0..proof.len() {
            let mut flipped = proof.to_vec();
            flipped[position].0[31] ^= 1;
            all.push(flipped);
            let mut dropped = proof.to_vec();
            dropped.remove(position);
            all.push(dropped);
            if position > 0 && proof[position] != proof[position - 1] {
                let mut swapped = proof.to_vec();
                swapped.swap(position, position - 1);
                all.push(swapped);
            }
        }
        for position in 0..=proof.len() {
            let mut longer = proof.to_vec();
            longer.insert(position, Hash([7; 32]));
            all.push(longer);
        }
        all
    }

    #[test]
    fn a_damaged_inclusion_proof_proves_nothing() {
        for size in 1..=20_usize {
            let all = leaves(size);
            let root = naive::root(&all);
            for index in 0..size {
                let (i, n) = (index as u64, size as u64);
                let proof = naive::path(index, &all);
                verify_inclusion(all[index], i, n, &proof, root).unwrap();
                for wrong in damaged(&proof) {
                    verify_inclusion(all[index], i, n, &wrong, root).unwrap_err();
                }
                for other in (0..size).filter(|other| *other != index) {
                    verify_inclusion(all[index], other as u64, n, &proof, root).unwrap_err();
                    verify_inclusion(all[other], i, n, &proof, root).unwrap_err();
                }
                verify_inclusion(all[index], i, n, &proof, Hash([0; 32])).unwrap_err();
            }
        }
    }

    #[test]
    fn a_damaged_consistency_proof_proves_nothing() {
        for new in 1..=20_usize {
            let all = leaves(new);
            let new_root = naive::root(&all);
            for old in 0..=new {
                let (o, n) = (old as u64, new as u64);
                let old_root = naive::root(&all[..old]);
                let proof = naive::consistency(old, &all);
                verify_consistency(o, old_root, n, new_root, &proof).unwrap();
                for wrong in damaged(&proof) {
                    verify_consistency(o, old_root, n, new_root, &wrong).unwrap_err();
                }
                verify_consistency(o, Hash([0; 32]), n, new_root, &proof).unwrap_err();
                if old > 0 {
                    verify_consistency(o, old_root, n, Hash([0; 32]), &proof).unwrap_err();
                    verify_consistency(n + 1, old_root, n, new_root, &proof).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn the_empty_tree_begins_every_tree_and_nothing_else_does_without_proof() {
        let (root, empty) = (Hash([5; 32]), empty_root());
        assert_eq!(verify_consistency(0, empty, 9, root, &[]), Ok(()));
        assert_eq!(verify_consistency(0, empty, 0, empty, &[]), Ok(()));
        assert_eq!(
            verify_consistency(0, root, 9, root, &[]),
            Err(ProofError::OldRoot {
                computed: empty,
                expected: root
            })
        );
        assert_eq!(
            verify_consistency(0, empty, 0, root, &[]),
            Err(ProofError::Root {
                computed: empty,
                expected: root
            })
        );
        assert_eq!(
            verify_consistency(3, root, 9, root, &[]),
            Err(ProofError::Length { hashes: 0, size: 9 })
        );
        assert_eq!(
            verify_consistency(4, root, 9, root, &[]),
            Err(ProofError::Length { hashes: 0, size: 9 })
        );
    }

    #[test]
    fn extreme_sizes_are_answered() {
        let proof = vec![Hash([1; 32]); 100];
        for size in [0, 1, u64::MAX - 1, u64::MAX, 1 << 63] {
            for other in [0, 1, 2, u64::MAX - 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
                for length in [0, 1, 62, 63, 64, 65, 100] {
                    let proof = &proof[..length];
                    let root = Hash([2; 32]);
                    let inclusion = verify_inclusion(root, other, size, proof, Hash([3; 32]));
                    assert!(inclusion.is_err());
                    let consistency = verify_consistency(other, Hash([3; 32]), size, root, proof);
                    assert!(consistency.is_err());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn naive_proofs_verify(size in 1..600_usize, index: usize, old: usize) {
            let (index, old) = (index % size, old % (size + 1));
            let all = leaves(size);
            let root = naive::root(&all);
            let proof = naive::path(index, &all);
            prop_assert_eq!(
                verify_inclusion(all[index], index as u64, size as u64, &proof, root),
                Ok(())
            );
            let proof = naive::consistency(old, &all);
            let old_root = naive::root(&all[..old]);
            prop_assert_eq!(
                verify_consistency(old as u64, old_root, size as u64, root, &proof),
                Ok(())
            );
        }
    }
}
