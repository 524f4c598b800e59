"""What a recipe says of where models are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from natmu.types import Settings


class ExecutorSettings(Settings):
    """Where the models of a study are made, and what each job gets."""

    kind: Literal["local", "ray"] = Field("local", description="in this process, or on the machines of a Ray cluster")
    cpus: int | None = Field(None, ge=1, description="threads of each job; all of the machine's if not given")
    gpus: float = Field(
        0, ge=0, le=1, description="of ray: fraction of a GPU that each job gets; 0.25 puts four jobs on one"
    )
    retries: int = Field(3, ge=0, description="of ray: how often a job is started again whose worker was lost")
    address: str | None = Field(None, description="of ray: the cluster; the one around, or this machine, if not given")

    @model_validator(mode="after")
    def _fits_the_kind(self) -> ExecutorSettings:
        defaults = type(self).model_fields
        given = [name for name in ("gpus", "retries", "address") if getattr(self, name) != defaults[name].default]
        if self.kind == "local" and given:
            raise ValueError(f"{', '.join(given)} is for kind: ray; leave it out, or name that kind")
        return self

    @field_validator("address")
    @classmethod
    def _is_no_proxy(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("ray://"):
            raise ValueError("run natmu on a machine of the cluster, and write HOST:PORT without ray://")
        return value

    def at(self, kind: str) -> ExecutorSettings:
        """The same settings for another place, as far as they apply there.

        Raises:
            SettingError: There is no such place.
        """
        kept = {"cpus": self.cpus} if kind == "local" else self.model_dump()
        return type(self).parse(kept | {"kind": kind}, where="executor")
