"""The made-up world of a sandbox: what it holds, how it is generated, sample names."""

from migrator.sandbox.world.likeness import RealEntity, RealFile, world_like
from migrator.sandbox.world.model import World, WorldAttachment, WorldEntity
from migrator.sandbox.world.samples import PEOPLE
from migrator.sandbox.world.words import Words

__all__ = ["PEOPLE", "RealEntity", "RealFile", "Words", "World", "WorldAttachment", "WorldEntity", "world_like"]
