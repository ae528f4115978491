"""The Hub: checkpoints are pulled from it, pushed to it and listed.

`asking` makes the requests that change nothing and huggingface_hub those that do; `explaining` turns what either
raises into what a user can do.
"""

from arzoo.hub.comparing import FileChange as FileChange
from arzoo.hub.listing import CommunityModel as CommunityModel
from arzoo.hub.listing import list_models as list_models
from arzoo.hub.memory import parents_of as parents_of
from arzoo.hub.memory import remember as remember
from arzoo.hub.pulling import MODEL as MODEL
from arzoo.hub.pulling import locate as locate
from arzoo.hub.pulling import organisation as organisation
from arzoo.hub.pulling import pull as pull
from arzoo.hub.pulling import short_name as short_name
from arzoo.hub.pushing import Moved as Moved
from arzoo.hub.pushing import Push as Push
from arzoo.hub.pushing import push as push
from arzoo.hub.pushing_models import push_model as push_model
from arzoo.hub.repository import FILES as FILES
from arzoo.hub.rights import check_rights as check_rights
