"""Room for the VMs of any one node that is lost (N+1), kept as a witness: for each VM a node that would take it.

A node is safe when all its VMs have such places at once, within what the nodes have and by the rules about nodes and
anti-affinity. A move changes little of that, so only what it touches is looked at again: the places on its target,
and a place for the VM itself. A move may leave no more nodes unsafe than before: a large VM that fits nowhere else,
wherever it is, may go from one node to another. A VM that the rules leave no other node (selectors, taints,
anti-affinity with all others where they are) makes no node unsafe, since no room would help it; else it could never
be brought to the one node that it is meant for.

Finding places is a packing problem: large VMs first, to the roomiest node, one exchange where that fails, and at
first a search through all placements as far as it is short. A node counts as unsafe when that finds none, though a
longer search might. Affinity and spreading of lost VMs are not looked at, and Pods that are no VMs are lost with their
node.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from drover.planner.grid import Board
from drover.planner.tables import Bools, Ints

NONE = -1
FEW = 8
AGAIN = 300  # the same after a move
SEARCHED = 5_000  # places tried for all nodes together, where packing by size finds none


class Spare:
    """The witness of a board; ``accept`` follows its moves, one by one."""

    def __init__(self, board: Board) -> None:
        self.board, self.grid = board, board.grid
        self.unsafe: set[int] = set()
        self._place = np.full(len(self.grid.vms), NONE, dtype=np.int64)
        self._of_lost: list[dict[int, Ints]] = [{} for _ in self.grid.names]  # place -> size
        self._at_place: list[set[int]] = [set() for _ in self.grid.names]  # the lost nodes
        self._log: list[tuple[int, int, int, bool]] = []
        self._tries = SEARCHED
        self._quickly()
        for node, vms in enumerate(self._residents()):
            missing = [vm for vm in vms if self._place[vm] == NONE]
            placed = not missing or self._settle(node, missing) or self._anew(node)
            if not placed and not self._search(node):
                self.unsafe.add(node)
        self._log.clear()

    def accept(self, vm: int, source: int, *, repairs: bool = True) -> bool:
        """Is the move of the VM from ``source``, which the board has made already, harmless? False: nothing has
        changed here, and the board must take it back. One that repairs nothing may not take the last node that the
        rules leave to another VM."""
        self._log.clear()
        before = set(self.unsafe)
        if self._place[vm] != NONE:
            self._release(source, vm)
        for lost in self._strained(vm, int(self.board.where[vm]), repairs):
            self.unsafe.add(lost)
            if not before:  # nothing that could be mended in return
                break
        strained = len(self.unsafe) > len(before)
        self._recover(sorted({source} & before if strained else before), source)
        if len(self.unsafe) <= len(before):
            self._unbound()
            return True
        self.unsafe = before
        for lost, one, place, held in reversed(self._log):
            if held:
                self._release(lost, one)
            else:
                self._hold(lost, one, place)
        return False

    def _strained(self, vm: int, target: int, repairs: bool) -> Iterator[int]:
        """The nodes, safe until now, whose VMs do not all find other places after the move."""
        board, grid = self.board, self.grid
        free = grid.capacity[target] - board.used[target]
        crowded = {
            lost
            for lost in self._at_place[target] - self.unsafe - {target}
            if (self._of_lost[lost][target] > free).any()
        }
        for lost in sorted(crowded):
            there = np.flatnonzero((board.where == lost) & (self._place == target)).tolist()
            if not self._elsewhere(lost, there):
                yield lost
        for one in sorted(grid.apart.kin(vm)) if grid.ruled[vm] else ():
            lost, place = int(board.where[one]), int(self._place[one])
            if one == vm or place == NONE or lost in self.unsafe or self._may(lost, one)[place]:
                continue
            bound = not repairs and self._bound(lost, one)
            if bound or not self._elsewhere(lost, [one]):
                yield lost
        if target not in self.unsafe and not (self._find(target, vm) or self._anew(target)):
            yield target

    def _recover(self, unsafe: list[int], source: int) -> None:
        """Nodes that the move has made safe are kept so from now on. With many of them unsafe only its source is asked:
        there is little to lose, and much to compute."""
        self._tries = AGAIN
        for lost in unsafe if len(unsafe) <= FEW else [one for one in unsafe if one == source]:
            if self._anew(lost) or self._search(lost):
                self.unsafe.discard(lost)

    def _unbound(self) -> None:
        """VMs that anti-affinity had left no other node, and now does, have a place from now on where there is room."""
        for vm in np.flatnonzero((self._place == NONE) & self.grid.ruled).tolist():
            lost = int(self.board.where[vm])
            if lost not in self.unsafe:
                self._find(lost, vm)

    def _elsewhere(self, lost: int, vms: list[int]) -> bool:
        """Other places for some VMs of a node."""
        for vm in vms:
            self._release(lost, vm)
        return all(self._find(lost, vm) for vm in self._large_first(vms)) or self._anew(lost)

    def _quickly(self) -> None:
        """Most VMs at once: the first of each node to the roomiest node, the second to the next, and so on, as far as
        they fit there together."""
        grid, board = self.grid, self.board
        free = grid.capacity - board.used
        room = (free[:, :-1] / np.maximum(grid.capacity[:, :-1], 1)).min(axis=1, initial=1.0)
        weight = (grid.size / np.maximum(grid.usual, 1)).max(axis=1, initial=0.0)
        vms = np.lexsort((-weight, board.where))
        lost = board.where[vms]
        rank = np.arange(len(vms)) - np.searchsorted(lost, lost)
        roomiest = np.argsort(-room, kind="stable")
        place = np.full(len(vms), NONE, dtype=np.int64)
        for group, allowed in enumerate(grid.allowed):
            rows = np.flatnonzero(grid.group[vms] == group)
            order = roomiest[allowed[roomiest]]
            if len(order) < 2:
                continue
            found = order[rank[rows] % len(order)]
            itself = found == lost[rows]
            found[itself] = order[(rank[rows][itself] + 1) % len(order)]
            place[rows] = np.where(found == lost[rows], NONE, found)
        pair, index = np.unique(lost * len(grid.names) + place, return_inverse=True)
        held = np.zeros((len(pair), grid.size.shape[1]), dtype=np.int64)
        np.add.at(held, index, grid.size[vms])
        fits = (held <= free[pair % len(grid.names)]).all(axis=1)[index] & (place != NONE)
        for row in np.flatnonzero(fits).tolist():
            vm = int(vms[row])
            if not grid.ruled[vm] or board.plainly_apart(vm, int(place[row])):
                self._hold(int(lost[row]), vm, int(place[row]))

    def _residents(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.grid.names]
        for vm, node in enumerate(self.board.where.tolist()):
            found[node].append(vm)
        return found

    def _large_first(self, vms: list[int]) -> list[int]:
        weight = (self.grid.size[vms] / np.maximum(self.grid.usual, 1)).max(axis=1)
        return [vms[i] for i in np.lexsort((vms, -weight)).tolist()]

    def _settle(self, lost: int, vms: list[int]) -> bool:
        """Places for VMs of a node that have none yet; those that the rules leave nowhere are left out."""
        return all(self._find(lost, vm) for vm in self._large_first(vms))

    def _anew(self, lost: int) -> bool:
        """Forget the places of a node and find others."""
        return self._settle(lost, self._forget(lost))

    def _search(self, lost: int) -> bool:
        """Go through the placements of all VMs of a node, as far as the tries last."""
        vms = self._large_first(self._forget(lost))
        return self._deeper(lost, [vm for vm in vms if not self._bound(lost, vm)])

    def _forget(self, lost: int) -> list[int]:
        """All VMs of a node, which have no places any more."""
        vms = np.flatnonzero(self.board.where == lost).tolist()
        for vm in vms:
            if self._place[vm] != NONE:
                self._release(lost, vm)
        return vms

    def _deeper(self, lost: int, vms: list[int]) -> bool:
        if not vms:
            return True
        vm, rest = vms[0], vms[1:]
        for place in np.flatnonzero(self._open(lost, vm)).tolist():
            self._tries -= 1
            if self._tries < 0:
                return False
            self._hold(lost, vm, place)
            if self._deeper(lost, rest):
                return True
            self._release(lost, vm)
        return False

    def _find(self, lost: int, vm: int) -> bool:
        """A place for one VM beside those that its neighbours have; a neighbour may go elsewhere for it."""
        open_ = self._open(lost, vm)
        if self._take(lost, vm, open_) or self._bound(lost, vm):
            return True
        for other in self._givers(lost, vm).tolist():
            place = int(self._place[other])
            self._release(lost, other)
            self._hold(lost, vm, place)
            if self._take(lost, other, self._open(lost, other)):
                return True
            self._release(lost, vm)
            self._hold(lost, other, place)
        return False

    def _givers(self, lost: int, vm: int) -> Ints:
        """The VMs of the node instead of which this one would fit, and which would fit somewhere else; by place."""
        grid = self.grid
        others = np.flatnonzero((self.board.where == lost) & (self._place != NONE))
        place, size = self._place[others], grid.size[others]
        free = self._free(lost)
        own = grid.size[vm]
        instead = ((free[place] + size >= own) | (own == 0)).all(axis=1)
        instead &= self._may(lost, vm)[place]
        others, place, size = others[instead], place[instead], size[instead]
        room = (free[None, :, :] >= size[:, None, :]) | (size == 0)[:, None, :]
        elsewhere = room.all(axis=2) & grid.allowed[grid.group[others]]
        elsewhere[:, lost] = elsewhere[np.arange(len(others)), place] = False
        some = elsewhere.any(axis=1)
        others, place = others[some], place[some]
        return np.asarray(others[np.lexsort((others, place))], dtype=np.int64)

    def _take(self, lost: int, vm: int, open_: Bools) -> bool:
        rows = np.flatnonzero(open_)
        if not len(rows):
            return False
        free = self._free(lost)[rows, :-1] - self.grid.size[vm][:-1]
        room = (free / np.maximum(self.grid.capacity[rows, :-1], 1)).min(axis=1, initial=1.0)
        self._hold(lost, vm, int(rows[np.argmax(room)]))
        return True

    def _free(self, lost: int) -> Ints:
        free: Ints = self.grid.capacity - self.board.used
        for place, size in self._of_lost[lost].items():
            free[place] -= size
        return free

    def _fits(self, lost: int, size: Ints) -> Bools:
        return np.asarray(((self._free(lost) >= size) | (size == 0)).all(axis=1), dtype=np.bool_)

    def _may(self, lost: int, vm: int) -> Bools:
        """Where the rules would let it go, were ``lost`` gone."""
        found = self.grid.allowed[self.grid.group[vm]].copy()
        found[lost] = False
        if self.grid.ruled[vm]:
            there = np.flatnonzero(self.board.where == lost).tolist()
            gone = {one: int(self._place[one]) for one in there if self.grid.ruled[one]}
            found &= self.board.apart_without(vm, lost, gone)
        return np.asarray(found, dtype=np.bool_)

    def _bound(self, lost: int, vm: int) -> bool:
        """Do the rules alone, with all others where they are, leave it no node but ``lost``?"""
        allowed = self.grid.allowed[self.grid.group[vm]]
        if not self.grid.ruled[vm]:
            return int(allowed.sum()) == int(allowed[lost])
        there = np.flatnonzero((self.board.where == lost) & self.grid.ruled).tolist()
        found = allowed & self.board.apart_without(vm, lost, dict.fromkeys(there, NONE))
        found[lost] = False
        return not found.any()

    def _open(self, lost: int, vm: int) -> Bools:
        open_: Bools = self._may(lost, vm) & self._fits(lost, self.grid.size[vm])
        return open_

    def _hold(self, lost: int, vm: int, place: int) -> None:
        held = self._of_lost[lost]
        held[place] = held.get(place, 0) + self.grid.size[vm]
        self._at_place[place].add(lost)
        self._place[vm] = place
        self._log.append((lost, vm, place, True))

    def _release(self, lost: int, vm: int) -> None:
        place = int(self._place[vm])
        left = self._of_lost[lost][place] - self.grid.size[vm]
        if left.any():
            self._of_lost[lost][place] = left
        else:
            del self._of_lost[lost][place]
            self._at_place[place].discard(lost)
        self._place[vm] = NONE
        self._log.append((lost, vm, place, False))
