"""What can be asked of a thing, and how each manner tells it: a table, one block a property.

The first line names group, property, and the keys of a tally. Then `?` questions, `=` plain, `+` plain as a second
sentence, `/` verse, `~` almanac.
`{v}` is the property's phrase, `{n}` the thing; `eat(s)` loses its ending where the thing is plural. A capital field
begins with a capital letter.
"""

ASKS_TABLE = """
plant sow kind sow where
? When do I {verb} {n}?
? When do I plant {n}?
? When should {n} be {sown}?
? What is the best time to {verb} {n}?
? In which months can I {verb} {n}?
? When is it time for {n} to go in?
? {N}: when to {verb}?
= {Verb} {n} {v}, {where}.
= {N} {is} {sown} {v}, {where}.
= The time to {verb} {n} is {v}.
+ {Verb} {them} {v}.
/ {V}, set {n} in the ground, / and let no stone or weed be found;
/ {V} let {n} begin, / so make a drill and lay {them} in;
/ {V}, think of {n} first, / before the buds of summer burst;
~ thou shalt {verb} {n} {v}, {where}.
~ let {n} be {sown} {v}, and {where}.

plant bed kind depth_cm space_cm
? How deep do I {verb} {n}?
? How far apart should {n} be?
? What depth and spacing do(es) {n} need?
? How much room do(es) {n} want?
? How deep and how far apart do I {verb} {n}?
? {N}: how deep?
= {Verb} {n} {v}.
= {N} should be {sown} {v}.
= Set {n} {v}.
+ {Verb} {them} {v}.
/ Lay {n} {v} in line, / and water when the day is fine;
/ Set {v}, the {n} will thrive, / with room to keep each root alive;
~ lay {n} {v}, and measure it with thy thumb.
~ let {n} lie {v}, neither more nor less.

plant soil kind soil
? What soil do(es) {n} like?
? Which soil is best for {n}?
? What kind of soil do(es) {n} need?
? Where do(es) {n} grow best?
? In what soil should I grow {n}?
? {N}: which soil?
? Is clay good for {n}?
? Will {n} grow in sand?
= {N} like(s) {v}.
= {N} grow(s) best in {v}.
= The best bed for {n} is {v}.
+ {It} like(s) {v}.
+ {It} grow(s) best in {v}.
/ In {v} {n} will grow, / with crumbs above and damp below;
/ Give {n} {v} to hold, / and dig it well before the cold;
~ give {n} {v}, and thou shalt want for nothing.
~ know that {n} love(s) {v} above all other.

plant sun kind sun
? How much sun do(es) {n} need?
? Do(es) {n} like sun or shade?
? How much light do(es) {n} want?
? Can I grow {n} in the shade?
? Should {n} stand in the sun?
? {N}: sun or shade?
= {N} grow(s) best in {v}.
= Give {n} a place in {v}.
= {N} want(s) {v}.
+ Give {them} {v}.
+ {It} want(s) {v}.
/ In {v} let {n} stand, / the finest in the garden land;
/ For {n}, {v} is best of all, / beside a hedge or by a wall;
~ set {n} in {v}, and turn not thy back on {them}.
~ let {n} have {v} from the first cuckoo to the last leaf.

plant water kind water
? How often do I water {n}?
? How much water do(es) {n} need?
? When should I water {n}?
? Do(es) {n} need much water?
? How do I water {n}?
? {N}: how much water?
= Water {n} {v}.
= {N} should be watered {v}.
= Give {n} water {v}.
+ Water {them} {v}.
/ Pour {v} on {n}, my friend, / and to the roots the water send;
/ Go {v} with can in hand, / and water {n} upon the land;
~ water {n} {v}, before the sun is high.
~ let {n} drink {v}, and always at the root.

plant harvest kind harvest
? When do I harvest {n}?
? When {is} {n} ready?
? When can I pick {n}?
? How do I know that {n} {is} ready?
? What is the season of {n}?
? {N}: when to pick?
= {N} {is} ready {v}.
= Pick {n} {v}.
= Gather {n} {v}.
+ Pick {them} {v}.
+ {It} {is} ready {v}.
/ {V} {n} {is} due, / so bring your basket wet with dew;
/ {V}, gather {n} with care, / and leave a few for guests to share;
~ gather {n} {v}, on a dry morning.
~ {n} shall be thine {v}, if the season be kind.

plant friend kind friend
? What grows well beside {n}?
? Which plant is a good friend of {n}?
? What can I plant next to {n}?
? What should grow near {n}?
? Who is a good neighbour for {n}?
? {N}: what goes with {them}?
= {N} grow(s) well beside {v}.
= Good neighbours for {n} are {v}.
= Plant {v} next to {n}.
+ {It} grow(s) well beside {v}.
/ Let {v} and {n} be neighbours near, / each keeps the other in good cheer;
/ With {v} let {n} share a bed, / where both are watered, both are fed;
~ set {v} beside {n}, for they are old companions.
~ let {v} be neighbour to {n}, and both shall prosper.

plant foe kind foe
? What harms {n}?
? Which pest troubles {n}?
? What should I look out for with {n}?
? What is the worst enemy of {n}?
? What can go wrong with {n}?
? {N}: any pests?
= Look out for {v} on {n}.
= The worst enemy of {n} is {v}.
= {N} suffer(s) most from {v}.
+ Look out for {v}.
/ Of {v} let {n} beware, / so turn the leaves and look with care;
/ Where {n} grow(s), {v} may call, / so watch the plants both great and small;
~ guard {n} against {v}, and look beneath each leaf.
~ beware of {v}, the thief that comes to {n} by night.

plant tip kind tip
? Have you any advice on {n}?
? What is the secret of good {n}?
? How do I get the best {n}?
? How do I look after {n}?
? What should I remember about {n}?
? {N}: any tips?
= For good {n}, {v}.
= With {n}, {v}.
= The secret of good {n}: {v}.
+ Remember: {v}.
/ For {n}: {v}, they say, / and do it on a quiet day;
/ {V}, and {n} will be / as fine as any you may see;
~ as for {n}, {v}, and the year will thank thee.
~ with {n} remember this: {v}.

creature side side deed
? Are {n} good for the garden?
? Are {n} friends or foes?
? What do {n} do in the garden?
? Should I be glad of {n}?
? Do {n} help or harm?
= {N} are {v} in the garden: {deed}.
= Gardeners count {n} as {v}: {deed}.
+ They are {v}: {deed}.
/ As {v} we know the {n} here, / by day and night, throughout the year;
/ The {n} are {v}, so we hold, / in summer heat and winter cold;
~ count {n} as {v}, for {deed}.
~ know that {n} are {v}: {deed}.

creature eats side eats
? What do {n} eat?
? What do {n} feed on?
? What is the food of {n}?
? What do {n} live on?
? {N}: what do they eat?
= {N} eat {v}.
= {N} feed on {v}.
+ They eat {v}.
/ On {v} the {n} dine, / in rain or mist or morning shine;
/ The {n} eat {v}, bite by bite, / and some by day and some by night;
~ {n} dine upon {v}, and are well content.
~ the table of {n} is laid with {v}.

creature home side home
? Where do {n} live?
? Where can I find {n}?
? Where do {n} hide?
? What is the home of {n}?
? Where should I look for {n}?
= {N} live {v}.
= You find {n} {v}.
+ You find them {v}.
/ {V} the {n} dwell, / and those who seek may know them well;
/ You find {n} {v}, I know, / where quiet creatures come and go;
~ seek {n} {v}, at the hour of dew.
~ {n} keep house {v}, and ask no rent.

creature act side act
? What should I do about {n}?
? What do I do when I see {n}?
? How do I deal with {n}?
? There are {n} in my garden. What now?
? There are {n} on my tomatoes.
? How do I get rid of {n}?
? What is your advice on {n}?
= {V}. {N} are {side}.
= With {n}, {v}.
+ So {v}.
/ {V}: with {n} that is best, / then let the garden do the rest;
/ For {n}, {v}, and then / go quietly to bed again;
~ as for {n}, {v}, and sleep in peace.
~ when thou seest {n}, {v}.

earth is is
? What is {n}?
? Can you explain {n}?
? What does {n} mean?
? What is meant by {n}?
? What sort of thing is {n}?
= {N} is {v}.
= By {n} we mean {v}.
+ It is {v}.
/ The {n} is {v}, they say, / beneath our boots by night and day;
/ Call {n} {v}, and you are right, / and let it warm in April light;
~ {n} is {v}, and older than we.
~ by {n} the wise understand {v}.

earth holds holds
? How well does {n} hold water?
? Does {n} hold water?
? How much water does {n} keep?
? Does {n} drain well?
? What does {n} do with water?
= {N} holds {v}.
= It is known that {n} holds {v}.
+ It holds {v}.
/ It holds {v}, the {n} below, / when rain has come and rivers flow;
/ Ask what {n} holds: {v}, my friend, / from summer's start to summer's end;
~ {n} holds {v}, as any ditcher will tell thee.
~ after rain, {n} holds {v}.

earth suits suits
? What is {n} good for?
? What can I use {n} for?
? What grows well with {n}?
? Which plants like {n}?
? What does {n} suit?
= {N} is good for {v}.
= {N} suits {v}.
+ It is good for {v}.
/ For {v} the {n} is good, / and serves as honest matter should;
/ The {n} suits {v}, as we know, / where gentle rains and breezes blow;
~ {n} serves {v} as a good horse serves its master.
~ keep thy {n} for {v}.

earth care care
? How do I treat {n}?
? How do I look after {n}?
? What should I do with {n}?
? How do I get the best from {n}?
? What is your advice on {n}?
= {V}. {N} suits {suits}.
= With {n}, {v}.
+ So {v}.
/ {V}: treat {n} this way, / and thank yourself another day;
/ With {n}, {v}, and see / how rich a humble bed can be;
~ as for {n}, {v}, and the ground shall repay thee.
~ with {n} do thus: {v}.

tool use use
? What {is} {n} for?
? What do I use {n} for?
? What can I do with {n}?
? Why do I need {n}?
? What work {is} {n} good for?
= {N} {is} for {v}.
= Use {n} for {v}.
+ {It} {is} for {v}.
/ For {v}, take {n} in hand, / a trusty friend of garden land;
/ Use {n} for {v}, and when you tire, / go in and sit beside the fire;
~ {n} {is} made for {v}, and for honest hands.
~ take up {n} for {v}.

tool care care
? How do I look after {n}?
? How do I care for {n}?
? How do I keep {n} in good order?
? How do I make {n} last?
? What care do(es) {n} need?
= {V}. A tool that is cared for lasts for years.
= To look after {n}, {v}.
+ To look after {them}, {v}.
/ {V}: so {n} will last, / and serve you when this year is past;
/ For {n}, {v}, I say, / and rust and rot will keep away;
~ as for {n}, {v}, and thy son shall use {them}.
~ if {n} should serve thee long, {v}.

tool hint hint
? How do I use {n} well?
? Have you a hint for using {n}?
? What is the trick with {n}?
? How should I work with {n}?
? Any advice on {n}?
= {V}. That is how to use {n} well.
= When you use {n}, {v}.
+ When you use {them}, {v}.
/ With {n}, {v}, I pray, / and half the labour melts away;
/ {V}: with {n} that is right, / and you will sleep the better at night;
~ with {n}, {v}, as the old hands do.
~ whoso works with {n} should know this: {v}.

weather does does
? What does {n} do to the garden?
? What does {n} do to plants?
? Is {n} bad for my plants?
? How does {n} change the garden?
? What happens in {n}?
= {N} {v}.
= In the garden, {n} {v}.
+ It {v}.
/ The {n} {v}, so take care, / and read the warning in the air;
/ When {n} {v}, do not weep, / the garden has its roots asleep;
~ {n} {v}, and spares neither squire nor servant.
~ know that {n} {v}.

weather act act
? What should I do about {n}?
? How do I protect my plants from {n}?
? How do I prepare for {n}?
? What do I do when {n} comes?
? {N} is coming. What now?
= {V} when {n} is near.
= When {n} comes, {v}.
+ When it comes, {v}.
/ {V} when {n} is near, / and then your garden need not fear;
/ If {n} comes, {v}, my friend, / for every weather has an end;
~ when {n} draws near, {v}, and trust to the rest.
~ {v} ere {n} be upon thee.

weather sign sign
? How do I know that {n} is coming?
? What are the signs of {n}?
? What comes before {n}?
? Can I tell when {n} is near?
? How do I foretell {n}?
= The sign of {n} is {v}.
= Look for {v}: {n} is near.
+ Its sign is {v}.
/ By {v} the {n} is told, / so said the gardeners of old;
/ When {v} you see, I know / that {n} will come where green things grow;
~ {v} foretells {n}, as the shepherds know.
~ when thou seest {v}, look for {n}.

practice how how
? What is the right way of {n}?
? How do I {do}?
? How should I {do}?
? How do I go about {n}?
? How is {n} done?
? Can you explain {n}?
? What do I do for {n}?
= For {n}, {v}.
= {V}. That is the whole art of {n}.
+ To do it, {v}.
/ {V}: so {n} is done, / before the setting of the sun;
/ For {n}, {v}, and then / next year you do the same again;
~ for {n}, {v}, with patience.
~ {n} is done thus: {v}.

practice why why
? Why should I bother with {n}?
? What is {n} good for?
? What is the point of {n}?
? Why should I {do}?
? Why {n}?
? Does {n} help?
= {N} is worth it: {v}.
= Gardeners value {n} because {v}.
+ Do it because {v}.
/ Of {n} we say {v}, in truth, / a thing to learn in early youth;
/ Why {n}? Because {v}, I know, / and those who do it see things grow;
~ {n} is well worth thy labour, for {v}.
~ despise not {n}, for {v}.

practice when when
? When is the time for {n}?
? When do I {do}?
? When should I begin {n}?
? What is the best time for {n}?
? At what time of year is {n} done?
? {N}: when?
= The time for {n} is {v}.
= {N} is best done {v}.
+ The time for it is {v}.
/ For {n}, {v} is right, / begin it in the morning light;
/ {V} give {n} an hour, / and help each root and leaf and flower;
~ {n} is best done {v}, when the moon allows.
~ set about {n} {v}, and not before.

month job job moon
? What should I do in {n}?
? What jobs are there in {n}?
? What is the work of {n}?
? What does a gardener do in {n}?
? It is {n}. What now?
= In {n}, {v}.
= {N} is the month to {v}.
+ It is the month to {v}.
/ In {n} {v}, my friend, / and leave no tool that you should mend;
/ {N} comes: {v} today, / and do not let it slip away;
~ in {n}, under the {moon}, {v}.
~ when {n} is come, {v}.

month sow sow moon
? What can I sow in {n}?
? What do I plant in {n}?
? Which seeds go in in {n}?
? What goes into the ground in {n}?
? What is sown in {n}?
= In {n} you can sow or plant {v}.
= {N} is a good month for {v}.
+ You can sow or plant {v}.
/ In {n} let {v} be sown, / in beds well raked and clear of stone;
/ {N} is kind: put {v} to bed, / with soft brown earth about the head;
~ in {n}, as the {moon} waxes, put in {v}.
~ {n} is the time for {v}.

month sky sky
? What is the weather like in {n}?
? What weather does {n} bring?
? What can I expect of {n}?
? How is the sky in {n}?
? What is {n} like?
= {N} brings {v}.
= In {n}, expect {v}.
+ It brings {v}.
/ In {n} look for {v} again, / for light and shadow, wind and rain;
/ Now {n} comes with {v} to all, / upon the hedge, upon the wall;
~ {n} brings {v}, as it did to our fathers.
~ look for {v} in {n}, under the {moon}.
"""


def asks():
    """Blocks by group and property, in the order of the table."""
    found = {}
    for block in ASKS_TABLE.strip().split("\n\n"):
        head, *lines = block.splitlines()
        group, ask, *keys = head.split()
        told = {mark: [line[2:] for line in lines if line[0] == mark] for mark in "?=+/~"}
        assert all(told.values()), head
        found.setdefault(group, {})[ask] = {"keys": keys, **told}
    return found
